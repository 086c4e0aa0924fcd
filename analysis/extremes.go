package analysis

import "math"

// Extremes returns the rows with the lowest and the highest hit rate among those that
// rest on at least min significant positions, and the number of rows with a rate that
// rest on fewer. low and high are nil if there is no row with enough.
func Extremes(rows []HitRateRow, min int) (low, high *HitRateRow, few int) {
	for i := range rows {
		row := &rows[i]
		switch {
		case math.IsNaN(row.HitRate):
			continue
		case row.Significant < min:
			few++
			continue
		}
		if low == nil || row.HitRate < low.HitRate {
			low = row
		}
		if high == nil || row.HitRate > high.HitRate {
			high = row
		}
	}
	return low, high, few
}
