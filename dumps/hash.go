package dumps

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// SHA256 is the hash of the header: of model, plan and manifest. Two captures
// have the same only if they were made alike, of the same prompts.
func (h *Header) SHA256() string {
	text, _ := json.Marshal(h)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
