package jinja

import (
	"fmt"
	"strings"
	"time"
)

// strftime formats a date as Python's datetime.strftime does on Linux in the locale C, with
// the flags of the C library: - (no padding), _ (spaces), 0 (zeros), ^ and # (case).
func strftime(layout string, t time.Time) string {
	var b strings.Builder
	for layout != "" {
		i := strings.IndexByte(layout, '%')
		if i < 0 {
			b.WriteString(layout)
			break
		}
		b.WriteString(layout[:i])
		rest := layout[i+1:]
		flags := rest[:len(rest)-len(strings.TrimLeft(rest, "-_0^#"))]
		rest = rest[len(flags):]
		if rest == "" {
			fail("strftime: a %% without a code at the end of %s", repr(layout))
		}
		b.WriteString(dateCode(rest[0], flags, t))
		layout = rest[1:]
	}
	return b.String()
}

// dateNumber is a code that is a number.
type dateNumber struct {
	value, width int
	pad          byte
}

// dateCode is the text of one code of strftime.
func dateCode(code byte, flags string, t time.Time) string {
	year, week := t.ISOWeek()
	hour12 := (t.Hour()+11)%12 + 1
	sunday := int(t.Weekday())
	monday := (sunday + 6) % 7
	numbers := map[byte]dateNumber{
		'C': {t.Year() / 100, 2, '0'},
		'd': {t.Day(), 2, '0'},
		'e': {t.Day(), 2, ' '},
		'f': {t.Nanosecond() / 1000, 6, '0'},
		'g': {year % 100, 2, '0'},
		'G': {year, 4, '0'},
		'H': {t.Hour(), 2, '0'},
		'I': {hour12, 2, '0'},
		'j': {t.YearDay(), 3, '0'},
		'k': {t.Hour(), 2, ' '},
		'l': {hour12, 2, ' '},
		'm': {int(t.Month()), 2, '0'},
		'M': {t.Minute(), 2, '0'},
		'S': {t.Second(), 2, '0'},
		'u': {monday + 1, 1, '0'},
		'U': {(t.YearDay() + 6 - sunday) / 7, 2, '0'},
		'V': {week, 2, '0'},
		'w': {sunday, 1, '0'},
		'W': {(t.YearDay() + 6 - monday) / 7, 2, '0'},
		'y': {t.Year() % 100, 2, '0'},
		'Y': {t.Year(), 1, '0'},
	}
	if n, ok := numbers[code]; ok {
		if code == 'f' && flags != "" {
			fail("strftime: %%%s%c is not supported", flags, code)
		}
		return n.text(flags)
	}
	texts := map[byte]string{
		'a': t.Format("Mon"),
		'A': t.Format("Monday"),
		'b': t.Format("Jan"),
		'h': t.Format("Jan"),
		'B': t.Format("January"),
		'p': t.Format("PM"),
		'P': t.Format("pm"),
		'n': "\n",
		't': "\t",
		'%': "%",
		'z': "", // the date has no time zone
		'Z': "",
	}
	if s, ok := texts[code]; ok {
		switch {
		case flags == "":
			return s
		case flags == "^":
			return strings.ToUpper(s)
		case flags == "#" && code == 'p':
			return strings.ToLower(s)
		case flags == "#" && strings.IndexByte("aAbBh", code) >= 0:
			return strings.ToUpper(s)
		}
	}
	composed := map[byte]string{
		'c': "%a %b %e %H:%M:%S %Y",
		'D': "%m/%d/%y",
		'F': "%Y-%m-%d",
		'r': "%I:%M:%S %p",
		'R': "%H:%M",
		'T': "%H:%M:%S",
		'x': "%m/%d/%y",
		'X': "%H:%M:%S",
	}
	if s, ok := composed[code]; ok && flags == "" {
		return strftime(s, t)
	}
	fail("strftime: the code %%%s%c is not supported", flags, code)
	return ""
}

// text is the number with the padding that the last of the flags asks for.
func (n dateNumber) text(flags string) string {
	for _, f := range flags {
		switch f {
		case '-':
			n.width = 1
		case '_':
			n.pad = ' '
		case '0':
			n.pad = '0'
		}
	}
	s := fmt.Sprint(n.value)
	return strings.Repeat(string(n.pad), max(n.width-len(s), 0)) + s
}
