// Command pack joins the PTX of the kernels and the cubins that ptxas makes of it into one
// compressed archive, which is embedded in the program.
//
//	go run ./engine/cuda/kernels/pack -o kernels.tar.zst kernels.ptx sm_80.cubin ...
//	go run ./engine/cuda/kernels/pack -x FOLDER kernels.tar.zst
//
// The same files give the same archive.
package main

import (
	"archive/tar"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

func main() {
	out := flag.String("o", "", "write the archive of the files to `FILE`")
	folder := flag.String("x", "", "extract the archive into `FOLDER`")
	flag.Parse()
	var err error
	switch {
	case *out != "" && flag.NArg() > 0:
		err = pack(*out, flag.Args())
	case *folder != "" && flag.NArg() == 1:
		err = unpack(flag.Arg(0), *folder)
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// pack writes an archive of files, in the order given.
func pack(out string, files []string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	// The window holds all cubins, which resemble each other.
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(32<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		head := &tar.Header{Name: filepath.Base(path), Mode: 0o644, Size: int64(len(data)), Format: tar.FormatUSTAR}
		if err := t.WriteHeader(head); err != nil {
			return err
		}
		if _, err := t.Write(data); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close(), f.Close())
}

// unpack extracts an archive into a folder.
func unpack(archive, folder string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	t := tar.NewReader(z)
	for {
		head, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(head.Name)), data, 0o644); err != nil {
			return err
		}
	}
}
