package snapkv

import (
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/internal/words"
)

// Revision is raised by a change after which a method selects other positions from the
// same input. Results that are kept for later runs name it, and results of another
// revision are computed again.
const Revision = 2

// Methods lists every method, in the order of help, tables and plots.
var Methods = []Method{
	snapKV, h2o, streamingLLM, tova, pyramidKV, adaKV, headKV, cake, chunkKV, criticalKV,
	expectedAttention, knorm, keyDiff,
	observedAttention, vatp, scissorhands, naCL, sageKV, finch, kvZip, kvCompose,
	entropyChunkKV, adaPyramidKV, criticalAdaKV, simLayerKV, duoAttention, mInference,
	adaExpected, capKV, keyDiffBlocks, leverage, nonCausal, compactor, lagKV, curDKV, qFilters,
	quest, sparQ,
	recent, uniform, random, oracle, full,
}

// Common returns the methods that comparisons include unless others are named: those
// that results/ and the calibration of advise were computed with.
func Common() []Method {
	return slices.DeleteFunc(slices.Clone(Methods), func(m Method) bool { return !m.Common })
}

// MethodNames returns the names of all methods, in the order of [Methods].
func MethodNames() []string {
	var list []string
	for _, m := range Methods {
		list = append(list, m.Name)
	}
	return list
}

// FindMethod returns the method with the given name. Its error lists all names.
func FindMethod(name string) (Method, error) {
	for _, m := range Methods {
		if m.Name == name {
			return m, nil
		}
	}
	if name == "all" || name == "common" {
		return Method{}, fmt.Errorf("method %q: want one method here", name)
	}
	return Method{}, words.Check("method", name, append(MethodNames(), "common", "all"))
}

// RoleOf returns the role of the method with the given name, or Selector if there is
// none.
func RoleOf(name string) Role {
	m, err := FindMethod(name)
	if err != nil {
		return Selector
	}
	return m.Role
}
