package dumps

import "github.com/attnscope/attnscope/internal/words"

// Store is the form in which a dump keeps the recorded rows of attention. In a
// [Plan] it may be StoreAuto or empty: each prompt then takes the smaller form. In a
// [Prompt] it is StoreRows or StoreFactors; empty means StoreRows.
type Store string

// The forms of recorded rows.
const (
	StoreAuto    Store = "auto"    // the smaller of the two, chosen per prompt
	StoreRows    Store = "rows"    // the weights
	StoreFactors Store = "factors" // queries and keys, from which weights are rebuilt
)

// Stores lists the values of Store.
func Stores() []Store { return []Store{StoreAuto, StoreRows, StoreFactors} }

// ParseStore returns the store that a word names. Any other word is an error that
// lists the stores.
func ParseStore(word string) (Store, error) { return parseWord("store", word, Stores()) }

// parseWord finds a word in a closed set; what names the set in the error.
func parseWord[T ~string](what, word string, all []T) (T, error) {
	if err := words.Check(what, T(word), all); err != nil {
		return "", err
	}
	return T(word), nil
}
