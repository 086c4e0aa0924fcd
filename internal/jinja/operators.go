package jinja

import (
	"math"
	"math/big"
	"slices"
	"strings"
)

// compare applies an operator of comparison.
func compare(op string, a, b any) bool {
	switch op {
	case "==":
		return equal(a, b)
	case "!=":
		return !equal(a, b)
	case "in":
		return contains(b, a)
	case "not in":
		return !contains(b, a)
	case ">":
		return less(b, a, op, false)
	case ">=":
		return less(b, a, op, true)
	}
	return less(a, b, op, op == "<=")
}

// less reports whether a < b, or a <= b with orEqual. op names the operator in errors; for
// > and >= the operands are exchanged.
func less(a, b any, op string, orEqual bool) bool {
	for _, v := range []any{a, b} {
		if u, ok := v.(*undefined); ok {
			u.use()
		}
	}
	if s, ok := asText(a); ok {
		if t, ok := asText(b); ok {
			return s < t || orEqual && s == t
		}
	}
	if x, ok := numberOf(a); ok {
		if y, ok := numberOf(b); ok {
			c := x.compare(y)
			return c == -1 || orEqual && c == 0
		}
	}
	x, y, ok := sequences(a, b)
	if !ok {
		if strings.HasPrefix(op, ">") {
			a, b = b, a
		}
		fail("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	}
	for i := range min(len(x), len(y)) {
		if !equal(x[i], y[i]) {
			return less(x[i], y[i], op, orEqual)
		}
	}
	return len(x) < len(y) || orEqual && len(x) == len(y)
}

// sequences returns two lists or two tuples.
func sequences(a, b any) (x, y []any, ok bool) {
	switch a := a.(type) {
	case list:
		b, ok := b.(list)
		return a, b, ok
	case tuple:
		b, ok := b.(tuple)
		return a, b, ok
	}
	return nil, nil, false
}

// contains reports whether a container has an item.
func contains(container, item any) bool {
	if s, ok := asText(container); ok {
		t, ok := asText(item)
		if u, isUndefined := item.(*undefined); isUndefined {
			fail("'in <string>' requires string as left operand, not Undefined (%s)", u.message)
		}
		if !ok {
			fail("'in <string>' requires string as left operand, not %s", typeName(item))
		}
		return strings.Contains(s, t)
	}
	if d, ok := container.(*dict); ok {
		_, ok := d.get(item)
		return ok
	}
	if !isIterable(container) {
		fail("argument of type '%s' is not iterable", typeName(container))
	}
	next := iterate(container)
	for {
		v, ok := next()
		if !ok {
			return false
		}
		if equal(v, item) {
			return true
		}
	}
}

// arithmetic applies an operator.
func arithmetic(op string, a, b any) any {
	if s, ok := asText(a); ok && op == "%" {
		if _, ok := a.(markup); ok {
			fail("%% with markup is not supported")
		}
		return percent(s, b)
	}
	for _, v := range []any{a, b} {
		if u, ok := v.(*undefined); ok {
			u.use()
		}
	}
	x, isNumber := numberOf(a)
	y, areNumbers := numberOf(b)
	areNumbers = areNumbers && isNumber
	switch {
	case areNumbers && (x.integer == nil || y.integer == nil || op == "/"):
		return floats2(op, x.asFloat(), y.asFloat())
	case areNumbers:
		return integers2(op, x.integer, y.integer)
	case op == "*" && isNumber:
		a, b = b, a
		fallthrough
	case op == "*":
		if v, ok := repeated(a, b); ok {
			return v
		}
		if isNumber {
			a, b = b, a
		}
	case op == "+":
		if v, ok := joined(a, b); ok {
			return v
		}
		if _, ok := asText(a); ok {
			fail("can only concatenate str (not \"%s\") to str", typeName(b))
		}
	}
	fail("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	return nil
}

// joined is a + b of strings, lists or tuples.
func joined(a, b any) (any, bool) {
	s, ok := asText(a)
	t, both := asText(b)
	if ok && both {
		_, left := a.(markup)
		_, right := b.(markup)
		if left || right { // what is not marked as safe is escaped
			return escaped(a) + escaped(b), true
		}
		checkText(len(s) + len(t))
		return s + t, true
	}
	x, y, ok := sequences(a, b)
	if !ok {
		return nil, false
	}
	checkItems(len(x) + len(y))
	if _, ok := a.(tuple); ok {
		return tuple(slices.Concat(x, y)), true
	}
	return list(slices.Concat(x, y)), true
}

// checkItems fails if a list is too long.
func checkItems(n int) {
	if n > maxItems || n < 0 {
		fail("a list of more than %d items", maxItems)
	}
}

// repeated is a * n for a string, a list or a tuple.
func repeated(a, n any) (any, bool) {
	var size int
	switch v := a.(type) {
	case string:
		size = len(v)
	case list:
		size = len(v)
	case tuple:
		size = len(v)
	default:
		return nil, false
	}
	if x, ok := numberOf(n); !ok || x.integer == nil {
		fail("can't multiply sequence by non-int of type '%s'", typeName(n))
	} else if x.integer.Sign() > 0 && size > 0 && x.integer.Cmp(big.NewInt(maxText/int64(size))) > 0 {
		fail("a string or list of more than %d bytes or items", maxText)
	}
	times := 0
	if size > 0 {
		times = max(integer(n), 0)
	}
	switch v := a.(type) {
	case string:
		return strings.Repeat(v, times), true
	case list:
		checkItems(size * times)
		return list(slices.Repeat([]any(v), times)), true
	}
	checkItems(size * times)
	return tuple(slices.Repeat([]any(a.(tuple)), times)), true
}

// maxBits bounds integers.
const maxBits = 1 << 16

// integers2 applies an operator to integers.
func integers2(op string, x, y *big.Int) any {
	z := new(big.Int)
	switch op {
	case "+":
		z.Add(x, y)
	case "-":
		z.Sub(x, y)
	case "*":
		z.Mul(x, y)
	case "//", "%":
		if y.Sign() == 0 {
			fail("integer division or modulo by zero")
		}
		m := new(big.Int)
		z.DivMod(x, y, m) // of Euclid: the remainder is not negative
		if y.Sign() < 0 && m.Sign() > 0 {
			z.Sub(z, big.NewInt(1))
			m.Add(m, y)
		}
		if op == "%" {
			z = m
		}
	case "**":
		if y.Sign() < 0 {
			return floats2(op, numeric{integer: x}.asFloat(), numeric{integer: y}.asFloat())
		}
		if x.BitLen() > 1 && (!y.IsInt64() || y.Int64() > maxBits/int64(x.BitLen())) {
			fail("a number of more than %d bits", maxBits)
		}
		z.Exp(x, y, nil)
	}
	if z.BitLen() > maxBits {
		fail("a number of more than %d bits", maxBits)
	}
	return shrink(z)
}

// floats2 applies an operator to floats.
func floats2(op string, x, y float64) any {
	if y == 0 && (op == "/" || op == "//" || op == "%") {
		fail("division by zero")
	}
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return x / y
	case "//", "%":
		m := math.Mod(x, y)
		d := (x - m) / y
		if m != 0 && (y < 0) != (m < 0) {
			m += y
			d--
		}
		if op == "%" {
			if m == 0 {
				m = math.Copysign(0, y)
			}
			return m
		}
		if d == 0 {
			return math.Copysign(0, x/y)
		}
		f := math.Floor(d)
		if d-f > 0.5 {
			f++
		}
		return f
	}
	return power(x, y)
}

// power is x ** y, rounded once, for whole exponents and square roots.
func power(x, y float64) float64 {
	const most = 1100 // beyond, results are 0, 1 or too large for most bases
	switch {
	case x == 0 && y < 0:
		fail("0.0 cannot be raised to a negative power")
	case x == 0 || x == 1 || y == 0 || math.IsNaN(x+y) || math.IsInf(x, 0) || math.IsInf(y, 0):
		return math.Pow(x, y)
	case y == 0.5 && x > 0:
		return math.Sqrt(x)
	case y != math.Trunc(y) || math.Abs(y) > most:
		fail("the power %s of a float is not supported", floatText(y))
	}
	product := big.NewFloat(1).SetPrec(256)
	factor := new(big.Float).SetPrec(256).SetFloat64(x)
	for range int(math.Abs(y)) {
		product.Mul(product, factor)
	}
	if y < 0 {
		product.Quo(big.NewFloat(1).SetPrec(256), product)
	}
	v, _ := product.Float64()
	if math.IsInf(v, 0) {
		fail("(34, 'Numerical result out of range')")
	}
	return v
}

// signed is +v or -v.
func signed(v any, negative bool) any {
	if u, ok := v.(*undefined); ok {
		u.use()
	}
	n, ok := numberOf(v)
	op := "+"
	if negative {
		op = "-"
	}
	switch {
	case !ok:
		fail("bad operand type for unary %s: '%s'", op, typeName(v))
	case n.integer == nil && negative:
		return -n.float
	case n.integer == nil:
		return n.float
	case negative:
		return shrink(new(big.Int).Neg(n.integer))
	}
	return shrink(n.integer)
}
