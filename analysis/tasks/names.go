package tasks

import (
	"math/rand/v2"
	"strings"
)

// The names of lines and keys consist of one of these adjectives and one of these
// nouns.
var (
	adjectives = strings.Fields(`
		amber ancient brisk calm clever cobalt crimson dusty eager early faint fierce gentle golden grand
		hidden hollow icy idle ivory jolly keen late lively lonely loyal lucky mellow misty modest narrow
		noble odd patient plain polite proud quick quiet rapid rough rusty shady sharp shy silent silver
		simple sleepy slim smooth solid spare steady steep stern sturdy sunny swift tame tidy tiny vast
		vivid warm wary wild wise witty young`)
	nouns = strings.Fields(`
		acorn anchor apple arrow badger barn basket beacon bell bench birch bottle bridge brook button cabin
		candle canyon cedar cellar cherry cliff clock cloud comet copper coral cottage crane creek desk
		engine falcon feather fern field flute forest fountain garden gate glacier goose grove hammer harbor
		hazel heron hill island jacket kettle ladder lake lantern lemon lily linen maple marble meadow mill
		mirror moose moss needle oak oar ocean orchard otter owl paper pebble pine plum pond quill rabbit
		raven reef ribbon river robin saddle sail shore sparrow spruce stone stove thistle thread tower
		trail valley violin wagon walnut willow window wren`)
)

// mostPairs is the number of names from which on new ones have two adjectives, because
// nearly all pairs of an adjective and a noun have been used.
var mostPairs = len(adjectives) * len(nouns) * 9 / 10

// newName draws an adjective and a noun that have not been used together, or two adjectives
// and a noun.
func newName(r *rand.Rand, used map[string]bool) string {
	for {
		name := adjectives[r.IntN(len(adjectives))] + "-" + nouns[r.IntN(len(nouns))]
		if len(used) >= mostPairs {
			name = adjectives[r.IntN(len(adjectives))] + "-" + name
		}
		if !used[name] {
			used[name] = true
			return name
		}
	}
}
