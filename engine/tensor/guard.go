package tensor

import (
	"errors"
	"runtime/debug"
)

// errGone is the error of data in a mapped file that the system cannot read.
var errGone = errors.New("its data cannot be read any more: the file has become shorter, or its disk fails")

// Guard calls read, which reads the data of tensors, and returns its error. If the data
// lies in a mapped file that has become shorter, or whose disk fails, the access is an
// error of Guard instead of a signal that ends the program. Everything that reads
// Tensor.Data directly must do so in Guard; the methods of Tensor do.
func Guard(read func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		switch reason := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // an access to memory that is not there
			err = errGone
		default:
			panic(reason)
		}
	}()
	return read()
}

// decode decodes a part of the tensor's data.
func (t Tensor) decode(dst []float32, data []byte) error {
	return Guard(func() error { return decode(dst, t.DType, data) })
}
