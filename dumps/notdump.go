package dumps

import (
	"fmt"
	"io"

	"github.com/attnscope/attnscope/internal/filekind"
)

// NotDumpError says that a file is not a dump: it does not begin like one, and contains no
// record.
type NotDumpError struct {
	Path string
	Kind filekind.Kind // what the file is instead, as far as it is known
}

func (e *NotDumpError) Error() string {
	if e.Kind == filekind.Unknown {
		return fmt.Sprintf("%s: not an attnscope dump", e.Path)
	}
	return fmt.Sprintf("%s: not an attnscope dump, but %s", e.Path, e.Kind)
}

// Hint says what the user can do with the file.
func (e *NotDumpError) Hint() string {
	switch e.Kind {
	case filekind.JSON, filekind.JSONLines:
		return fmt.Sprintf("if it has prompts, attnscope capture -p %s -o RUN.attn records a dump", e.Path)
	case filekind.Safetensors:
		return "if it is a part of a model, attnscope info -m FOLDER describes the model"
	case filekind.GGUF:
		return fmt.Sprintf("attnscope info -m %s describes the model", e.Path)
	case filekind.Gzip:
		return fmt.Sprintf("if it holds a dump, decompress it first: gunzip -k %s", e.Path)
	case filekind.Zstd:
		return fmt.Sprintf("if it holds a dump, decompress it first: zstd -d %s", e.Path)
	case filekind.LFSPointer:
		return "fetch the file itself with git lfs pull"
	}
	return "name a RUN.attn; attnscope capture makes them"
}

// searched is the number of bytes in which a record is searched before a file is taken for
// something else than a damaged dump. The largest payload is shorter.
const searched = maxStored + 1<<20

// checkKind returns a *NotDumpError if a file is no dump. A dump whose first bytes are
// damaged has other records.
func checkKind(f io.ReaderAt, size int64, path string) error {
	if size == 0 {
		return nil // cut: the caller says so
	}
	kind := filekind.OfFile(f)
	if kind == filekind.Dump {
		return nil
	}
	if kind == filekind.Unknown && (size < frameBytes || nextRecord(f, 1, min(size, searched)) >= 0) {
		return nil
	}
	return &NotDumpError{path, kind}
}
