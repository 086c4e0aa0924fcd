package dumps

import (
	"fmt"
	"reflect"
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
		name := jsonName(a.Type().Field(i))
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

// sameRun compares model, plan, configuration and prompt set: only a file that shares
// them can be continued. unknown lists what could not be compared.
func sameRun(path string, have, want *Header) (unknown []string, err error) {
	err = sameHeader(path, have, want)
	if err == nil {
		unknown, err = sameIdentity(path, have, want)
	}
	if a, b := have.Manifest.PromptsSHA256, want.Manifest.PromptsSHA256; err == nil && a != "" && b != "" && a != b {
		err = fmt.Errorf("%s: the prompts differ (prompts_sha256 %.12s there, %.12s here)", path, a, b)
	}
	a, b := have.Manifest.PromptFieldsSHA256, want.Manifest.PromptFieldsSHA256
	switch {
	case err != nil:
	case a == "" || b == "":
		unknown = append(unknown, "data sets and answers of prompts")
	case a != b:
		err = fmt.Errorf("%s: the data sets, answers or documents of the prompts differ "+
			"(prompt_fields_sha256 %.12s there, %.12s here)", path, a, b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: cannot resume; use --force to start over", err)
	}
	return unknown, nil
}
