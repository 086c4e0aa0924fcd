package dumps

import (
	"fmt"
	"reflect"
	"strings"
)

// sameHeader compares the parts of a header that decide the numbers of a dump: model
// and plan. The error names path and the first field that differs.
func sameHeader(path string, have, want *Header) error {
	if err := sameFields("model", have.Model, want.Model); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := sameFields("plan", have.Plan, want.Plan); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// sameFields compares two structs field by field, by their names in JSON. The model's
// id is skipped because it affects no number.
func sameFields(what string, have, want any) error {
	a := reflect.ValueOf(have)
	b := reflect.ValueOf(want)
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		if name == "id" || sameField(a.Field(i), b.Field(i)) {
			continue
		}
		return fmt.Errorf("%s %s is %s there and %s here", what, name, fieldText(a.Field(i)), fieldText(b.Field(i)))
	}
	return nil
}

// sameField compares two fields; nil and empty slices are equal.
func sameField(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// fieldText returns a field's value as text; strings are quoted, so that an empty
// one can be seen.
func fieldText(v reflect.Value) string {
	if v.Kind() == reflect.String {
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v)
}

// sameRun compares model, plan and prompt set: only a file that shares them can be
// continued.
func sameRun(path string, have, want *Header) error {
	err := sameHeader(path, have, want)
	if a, b := have.Manifest.PromptsSHA256, want.Manifest.PromptsSHA256; err == nil && a != "" && b != "" && a != b {
		err = fmt.Errorf("%s: the prompts differ (prompts_sha256 %.12s there, %.12s here)", path, a, b)
	}
	if err != nil {
		return fmt.Errorf("%w: cannot resume; use --force to start over", err)
	}
	return nil
}
