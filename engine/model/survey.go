package model

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/words"
)

// TensorSurvey says how the tensors of a checkpoint differ from those of a model of its
// configuration. Each entry is the name of a tensor, or a name with * for the numbers of
// layers and experts, followed by the number of tensors.
type TensorSurvey struct {
	Missing   []string // tensors that the model has and the checkpoint lacks
	Unknown   []string // tensors of the checkpoint that the model does not have
	Misshapen []string // tensors with other shapes than the configuration makes them
}

// Complete reports whether there is no difference.
func (s *TensorSurvey) Complete() bool { return len(s.Missing)+len(s.Unknown)+len(s.Misshapen) == 0 }

// SurveyTensors compares the names and the shapes of all tensors with those of the
// configuration. [CheckTensors] stops at the first difference; SurveyTensors lists all of
// them, which shows how far a model is from the family that it was taken for. It returns
// an error if a tensor cannot be read at all.
func SurveyTensors(ck *checkpoint.Checkpoint, c Config) (TensorSurvey, error) {
	found := &TensorSurvey{}
	l := &loader{ck: ck, c: &c, used: map[string]bool{}, survey: found}
	_, err := l.weights("")
	return TensorSurvey{
		Missing:   byForm(found.Missing),
		Unknown:   byForm(found.Unknown),
		Misshapen: byForm(found.Misshapen),
	}, err
}

// standIn takes the place of a tensor that is missing or has another shape. It has no data.
func standIn(name string, shape []int) tensor.Tensor {
	return tensor.Tensor{Name: name, DType: tensor.F32, Shape: slices.Clone(shape)}
}

// missing returns an error, or notes it in the survey and returns a tensor to go on with.
func (l *loader) missing(name string, shape ...int) (tensor.Tensor, error) {
	if l.survey == nil {
		return tensor.Tensor{}, fmt.Errorf("%s: no tensor %s, which a %s model has", l.ck.Path(), name, l.c.Architecture)
	}
	l.survey.Missing = append(l.survey.Missing, name)
	return standIn(name, shape), nil
}

// misshapen is missing for a tensor of another shape.
func (l *loader) misshapen(name string, t tensor.Tensor, want ...int) (tensor.Tensor, error) {
	if l.survey == nil {
		return t, fmt.Errorf("%s: tensor %s has shape %v, the configuration makes it %v", l.ck.Path(), name, t.Shape, want)
	}
	l.survey.Misshapen = append(l.survey.Misshapen, fmt.Sprintf("%s %v, want %v", name, t.Shape, want))
	return standIn(name, want), nil
}

// dataless reports whether tensors may have no data, so that only names and shapes are
// checked.
func (l *loader) dataless() bool { return l.ck.HeadersOnly() || l.survey != nil }

// placeNumber finds the numbers of layers and experts in the name of a tensor.
var placeNumber = regexp.MustCompile(`\.\d+\.`)

// byForm joins names that differ only in the numbers of layers and experts, in the order in
// which they first occur.
func byForm(names []string) []string {
	var order []string
	same := map[string][]string{}
	for _, name := range names {
		form := placeNumber.ReplaceAllString(name, ".*.")
		if same[form] == nil {
			order = append(order, form)
		}
		if !slices.Contains(same[form], name) {
			same[form] = append(same[form], name)
		}
	}
	for i, form := range order {
		if list := same[form]; len(list) == 1 {
			order[i] = list[0]
		} else {
			order[i] = fmt.Sprintf("%s (%s)", form, words.Count(len(list), "tensor"))
		}
	}
	return order
}
