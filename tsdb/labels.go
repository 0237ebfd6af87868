package tsdb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Label is a name and a value.
type Label struct{ Name, Value string }

// Labels are what identifies a series within its source. Their order does not
// matter; an empty value is the same as no label.
type Labels []Label

// SourceLabel is the name under which a [Matcher] finds the source. No label may
// be called so.
const SourceLabel = "__source__"

// Limits of what identifies a series, in bytes.
const (
	MaxLabelName  = 1 << 10  // the longest name
	MaxLabelValue = 64 << 10 // the longest value
	MaxSource     = 1 << 10  // the longest source
	maxLabels     = 256
	maxKey        = 1 << 20
)

// Pairs makes labels of names and values in turn. It panics if their number is
// odd.
func Pairs(namesAndValues ...string) Labels {
	if len(namesAndValues)%2 != 0 {
		panic("tsdb: Pairs needs a value for each name")
	}
	l := make(Labels, 0, len(namesAndValues)/2)
	for i := 0; i < len(namesAndValues); i += 2 {
		l = append(l, Label{namesAndValues[i], namesAndValues[i+1]})
	}
	return l
}

// Get returns the value of a label, or "".
func (l Labels) Get(name string) string {
	for _, x := range l {
		if x.Name == name {
			return x.Value
		}
	}
	return ""
}

// String returns the labels as {a="1", b="2"}.
func (l Labels) String() string {
	var s strings.Builder
	s.WriteByte('{')
	for i, x := range l {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(x.Name)
		s.WriteByte('=')
		s.WriteString(strconv.Quote(x.Value))
	}
	s.WriteByte('}')
	return s.String()
}

// appendKey appends the key of a series: its labels sorted by name, each name
// and value with its length in front. Equal label sets have equal keys.
func (l Labels) appendKey(dst []byte) ([]byte, error) {
	if len(l) > maxLabels {
		return dst, fmt.Errorf("%w: %d labels, above %d", ErrTooLarge, len(l), maxLabels)
	}
	if !slices.IsSortedFunc(l, compareNames) {
		l = slices.Clone(l)
		slices.SortStableFunc(l, compareNames)
	}
	begin := len(dst)
	for i, x := range l {
		switch {
		case x.Name == "" || x.Name == SourceLabel:
			return dst[:begin], fmt.Errorf("%w: label name %q", ErrInvalid, x.Name)
		case i > 0 && x.Name == l[i-1].Name:
			return dst[:begin], fmt.Errorf("%w: label %q twice", ErrInvalid, x.Name)
		case len(x.Name) > MaxLabelName || len(x.Value) > MaxLabelValue:
			return dst[:begin], fmt.Errorf("%w: label %.40q of %d bytes", ErrTooLarge, x.Name, len(x.Name)+len(x.Value))
		case !utf8.ValidString(x.Name) || !utf8.ValidString(x.Value):
			return dst[:begin], fmt.Errorf("%w: label %.40q is not UTF-8", ErrInvalid, x.Name)
		}
		if x.Value == "" {
			continue
		}
		dst = appendText(dst, x.Name)
		dst = appendText(dst, x.Value)
	}
	if len(dst)-begin > maxKey {
		return dst[:begin], fmt.Errorf("%w: labels of %d bytes", ErrTooLarge, len(dst)-begin)
	}
	return dst, nil
}

func compareNames(a, b Label) int { return strings.Compare(a.Name, b.Name) }

// nextLabel takes the first label off a key, as parts of it. It is false for
// what is no key.
func nextLabel(key string) (name, value, rest string, ok bool) {
	if name, key, ok = nextText(key); !ok {
		return "", "", "", false
	}
	value, rest, ok = nextText(key)
	return name, value, rest, ok
}

func nextText(s string) (text, rest string, ok bool) {
	n, shift := uint64(0), 0
	for i := 0; i < len(s) && i < 4; i++ {
		b := s[i]
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			s = s[i+1:]
			if n > uint64(len(s)) {
				return "", "", false
			}
			return s[:n], s[n:], true
		}
		shift += 7
	}
	return "", "", false
}

// keyLabels returns the labels of a key.
func keyLabels(key string) Labels {
	l := Labels{}
	for key != "" {
		name, value, rest, ok := nextLabel(key)
		if !ok {
			break
		}
		l = append(l, Label{name, value})
		key = rest
	}
	return l
}

// validKey reports whether a key from outside is one that appendKey makes.
func validKey(key string) bool {
	last := ""
	for key != "" {
		name, value, rest, ok := nextLabel(key)
		if !ok || name <= last || value == "" || name == SourceLabel || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return false
		}
		last, key = name, rest
	}
	return true
}

// checkSource returns why a source cannot be used.
func checkSource(s string) error {
	switch {
	case len(s) > MaxSource:
		return fmt.Errorf("%w: source of %d bytes", ErrTooLarge, len(s))
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: source is not UTF-8", ErrInvalid)
	}
	return nil
}
