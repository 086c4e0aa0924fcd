package checkpoint

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/capture/tensor"
)

// WriteSafetensors writes tensors, in their order, beside path and renames the
// file when it is complete.
func WriteSafetensors(path string, tensors []tensor.Tensor, meta map[string]string) (err error) {
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
		fmt.Fprintf(&head, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, dims, at, at+len(t.Data))
		at += len(t.Data)
	}
	if len(tensors) == 0 && len(meta) > 0 {
		head.Truncate(head.Len() - 1)
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 {
		head.WriteByte(' ')
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	_ = binary.Write(w, binary.LittleEndian, uint64(head.Len()))
	w.Write(head.Bytes())
	for _, t := range tensors {
		if _, err = w.Write(t.Data); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err = w.Flush(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
