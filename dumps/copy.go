package dumps

import (
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
)

// copyPiece is the number of bytes of a block held in memory while it is copied.
const copyPiece = 1 << 20

// sourcePrompt is a prompt of one of several dumps.
type sourcePrompt struct {
	r     *Reader
	index int
}

// writeCopies writes a dump with prompts of other dumps to tmp, which is then renamed
// to path. After an error, tmp is removed. The bytes that are copied are added to copied.
func writeCopies(
	ctx context.Context, path, tmp string, h *Header, prompts []sourcePrompt, copied *counter,
) (err error) {
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
		}
	}()
	w := newRecordFile(tmp, f, nil)
	w.copied = copied
	if err := w.appendJSON(record{Kind: kindHeader}, h); err != nil {
		return err
	}
	for _, p := range prompts {
		if err := w.copyPrompt(ctx, p.r, p.index); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("%s: %w", path, ctx.Err())
			}
			return err
		}
	}
	return w.finish(w.records)
}

// copyPrompt appends the blocks of a prompt of another dump, in their order there,
// without decompressing them.
func (w *recordFile) copyPrompt(ctx context.Context, r *Reader, prompt int) error {
	var list []record
	for _, blocks := range r.blocks[prompt] {
		list = append(list, blocks...)
	}
	slices.SortFunc(list, func(a, b record) int { return cmp.Compare(a.at, b.at) })
	index := uint32(w.prompts)
	for _, rec := range list {
		rec.Prompt = index
		if err := w.copyBlock(ctx, r, rec); err != nil {
			return err
		}
	}
	w.prompts++
	return w.appendJSON(record{Kind: kindPrompt, Prompt: index}, r.prompts[prompt])
}

// copyBlock appends a block of another dump and compares its checksum on the way. Its
// memory does not depend on the size of the block.
func (w *recordFile) copyBlock(ctx context.Context, r *Reader, rec record) error {
	if err := rec.limits(); err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	if w.piece == nil {
		w.piece = make([]byte, 0, frameBytes+copyPiece)
	}
	piece := rec.marshal(w.piece[:0])
	at := w.offset
	sum := uint32(0)
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(copyPiece, int64(rec.Stored)-done)
		head := len(piece) // of the record, before its first piece
		piece = piece[:head+int(n)]
		if _, err := r.f.ReadAt(piece[head:], rec.at+done); err != nil {
			return fmt.Errorf("%s: %s: %w", r.path, r.placeOf(&rec), err)
		}
		sum = crc32.Update(sum, castagnoli, piece[head:])
		if _, err := w.out.WriteAt(piece, at); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		at += int64(len(piece))
		done += n
		w.copied.add(n)
		if done == int64(rec.Stored) {
			break
		}
		piece = piece[:0]
	}
	if sum != rec.Sum {
		return fmt.Errorf("%s: %s: %w", r.path, r.placeOf(&rec), badChecksum(sum, rec.Sum))
	}
	w.add(rec, at)
	return nil
}
