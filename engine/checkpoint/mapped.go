package checkpoint

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/attnscope/attnscope/engine/tensor"
)

// mapped is a file that is mapped into memory. It stays open, so that a change of the
// file can be noticed even if another file takes its name.
type mapped struct {
	path string
	file *os.File // nil if the file was read instead
	size int64
	time time.Time // of the last modification
	data []byte
	free func() error // unmaps data
}

// openMapped maps a file.
func openMapped(path string) (*mapped, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if info.IsDir() {
		return nil, fmt.Errorf("%s: is a folder, want a file", path)
	} else if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, fmt.Errorf("%s: is a pipe or a device, want a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	m := &mapped{path: path, size: info.Size(), time: info.ModTime()}
	if err := m.mapFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// parse calls read with the content of the file. It refuses Git LFS pointers, and its
// errors name the file.
func (m *mapped) parse(read func(data []byte) error) error {
	err := tensor.Guard(func() error {
		if err := refuseLFS(m.data); err != nil {
			return err
		}
		return read(m.data)
	})
	if changed := m.changed(); changed != nil {
		return changed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.path, err)
	}
	return nil
}

// changed returns an error if the file has been written to since it was mapped.
func (m *mapped) changed() error {
	if m.file == nil {
		return nil
	}
	info, err := m.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != m.size {
		return fmt.Errorf("%s: it had %d bytes when it was opened and has %d now: "+
			"run the command again when nothing writes to the file any more", m.path, m.size, info.Size())
	}
	if !info.ModTime().Equal(m.time) {
		return fmt.Errorf("%s: it was written to while it was in use: "+
			"run the command again when nothing writes to the file any more", m.path)
	}
	return nil
}

// close unmaps the file.
func (m *mapped) close() error {
	err := m.free()
	if m.file != nil {
		m.file.Close()
	}
	return err
}

// refuseLFS returns an error if data is a Git LFS pointer: the few lines that a clone
// without Git LFS has instead of a large file.
func refuseLFS(data []byte) error {
	if !bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")) {
		return nil
	}
	whole := ""
	if _, rest, ok := bytes.Cut(data[:min(len(data), 1024)], []byte("\nsize ")); ok {
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if n, err := strconv.ParseInt(string(line), 10, 64); err == nil {
			whole = fmt.Sprintf(" of %d bytes", n)
		}
	}
	return fmt.Errorf("it is a Git LFS pointer, not the file itself%s: "+
		"run \"git lfs pull\" in its folder, or fetch the model again", whole)
}

// ReadFile reads a small file of a model, such as config.json. It refuses Git LFS
// pointers, and files of more than limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", path, info.Size(), limit)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := refuseLFS(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}
