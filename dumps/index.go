package dumps

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"
)

// A complete dump ends with an index and an end record, whose head says where the
// index is. The payload of the index, little-endian:
//
//	0   u64  number of entries
//	8   entries of 80 bytes, one per record of the file:
//	    0   u64  offset of the record's payload in the file
//	    8   72 bytes, the record's frame as in the file
const indexEntryBytes = 8 + frameBytes

// marshalIndex makes the payload of an index.
func marshalIndex(records []record) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(records)))
	for i := range records {
		b = binary.LittleEndian.AppendUint64(b, uint64(records[i].at))
		b = records[i].marshal(b)
	}
	return b
}

// endRecord returns the last record of a complete dump, whose index begins at byte
// index: row0 is the low half of the offset, rows the high half.
func endRecord(index int64) record {
	return record{Kind: kindEnd, Row0: uint32(index), Rows: uint32(index >> 32)}
}

// indexOffset returns the offset that was passed to endRecord.
func (r *record) indexOffset() int64 { return int64(r.Row0) | int64(r.Rows)<<32 }

// readIndex returns the records that the index of a complete file lists, or nil if
// there is no sound index.
func readIndex(f io.ReaderAt, size int64) []record {
	if size < 2*frameBytes {
		return nil
	}
	head := make([]byte, frameBytes)
	end, err := readRecord(f, size-frameBytes, size, head)
	if err != nil || end.Kind != kindEnd {
		return nil
	}
	at := end.indexOffset()
	if at < 0 || at > size-2*frameBytes {
		return nil
	}
	r, err := readRecord(f, at, size, head)
	if err != nil || r.Kind != kindIndex {
		return nil
	}
	stored, err := readPayload(f, &r)
	if err != nil {
		return nil
	}
	raw, err := inflate(&r, stored)
	if err != nil {
		return nil
	}
	list := unmarshalIndex(raw, size)
	if !covers(list, at) {
		return nil // some records are not listed, or listed twice: a walk finds them
	}
	return list
}

// covers reports whether the records, in some order, follow one another without a gap
// from the first byte of the file to byte end.
func covers(list []record, end int64) bool {
	order := make([]*record, len(list))
	for i := range list {
		order[i] = &list[i]
	}
	slices.SortFunc(order, func(a, b *record) int { return cmp.Compare(a.at, b.at) })
	next := int64(0)
	for _, r := range order {
		if r.at != next+frameBytes {
			return false
		}
		next = r.at + int64(r.Stored)
	}
	return next == end
}

// unmarshalIndex returns the records of an index, or nil if one of them does not fit
// into a file of size bytes.
func unmarshalIndex(raw []byte, size int64) []record {
	if len(raw) < 8 {
		return nil
	}
	n := binary.LittleEndian.Uint64(raw)
	raw = raw[8:]
	if len(raw)%indexEntryBytes != 0 || uint64(len(raw)/indexEntryBytes) != n {
		return nil
	}
	records := make([]record, n)
	for i := range records {
		r := &records[i]
		entry := raw[i*indexEntryBytes:][:indexEntryBytes]
		if r.unmarshal(entry[8:]) != nil {
			return nil
		}
		r.at = int64(binary.LittleEndian.Uint64(entry))
		if r.at < frameBytes || r.at > size || r.Stored > uint64(size-r.at) {
			return nil
		}
	}
	return records
}
