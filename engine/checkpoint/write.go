package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/outfile"
)

// WriteSafetensors writes tensors, in the order given, and metadata to a safetensors
// file. A failed write leaves no file and does not change an existing one. A tensor
// whose data do not have the length of its shape is an error.
func WriteSafetensors(path string, tensors []tensor.Tensor, meta map[string]string) error {
	for _, t := range tensors {
		if err := t.CheckLength(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	var head bytes.Buffer
	head.WriteByte('{')
	if len(meta) > 0 {
		text, err := json.Marshal(meta)
		if err != nil {
			return err
		}
		fmt.Fprintf(&head, `"__metadata__":%s,`, text)
	}
	at := 0
	for i, t := range tensors {
		name, _ := json.Marshal(t.Name)
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		dims, _ := json.Marshal(shape)
		if i > 0 {
			head.WriteByte(',')
		}
		fmt.Fprintf(&head, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			name, t.DType, dims, at, at+len(t.Data))
		at += len(t.Data)
	}
	if len(tensors) == 0 && len(meta) > 0 {
		head.Truncate(head.Len() - 1)
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 {
		head.WriteByte(' ')
	}
	return outfile.Write(path, func(w io.Writer) error {
		if err := binary.Write(w, binary.LittleEndian, uint64(head.Len())); err != nil {
			return err
		}
		if _, err := w.Write(head.Bytes()); err != nil {
			return err
		}
		for _, t := range tensors {
			if _, err := w.Write(t.Data); err != nil {
				return err
			}
		}
		return nil
	})
}
