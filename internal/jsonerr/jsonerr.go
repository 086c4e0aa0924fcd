// Package jsonerr says in plain words what is wrong with a JSON text. The errors of
// encoding/json name types of Go.
package jsonerr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Plain returns the error of decoding text in plain words. If the text has several lines,
// the error names one of them. Errors that are not about the text, and nil, are returned as
// they are.
func Plain(text []byte, err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	empty := len(bytes.TrimSpace(text)) == 0
	switch {
	case err == nil:
		return nil
	case empty && (errors.As(err, &syntax) || errors.Is(err, io.EOF)):
		return errors.New("it is empty, want JSON")
	case errors.As(err, &kind):
		found := article(strings.Replace(kind.Value, "array", "list", 1))
		if kind.Field != "" {
			return fmt.Errorf("%s%s is %s, want %s", at(text, kind.Offset), kind.Field, found, wanted(kind.Type))
		}
		return fmt.Errorf("%sfound %s, want %s", at(text, kind.Offset), found, wanted(kind.Type))
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &syntax) && syntax.Error() == "unexpected end of JSON input":
		return errors.New("the JSON text is cut off")
	case errors.As(err, &syntax):
		return fmt.Errorf("%s%w", at(text, syntax.Offset), err)
	}
	return err
}

// at names the line of a byte, unless the text has only one.
func at(text []byte, offset int64) string {
	text = bytes.TrimRight(text, "\n")
	if !bytes.Contains(text, []byte("\n")) {
		return ""
	}
	before := text[:min(max(offset-1, 0), int64(len(text)))]
	return fmt.Sprintf("line %d: ", 1+bytes.Count(before, []byte("\n")))
}

// article puts an article before the name of a JSON value, such as "object", or
// "number 1.5".
func article(value string) string {
	switch {
	case value == "bool":
		return "true or false"
	case strings.HasPrefix(value, "number "):
		return "the " + value
	case value == "object":
		return "an object"
	}
	return "a " + value
}

// wanted returns the JSON value that a type of Go stands for.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}
