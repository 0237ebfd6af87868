package norm

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Term returns the normal form of a term. Of one that is in it already, and ASCII, it
// returns s itself and allocates nothing.
func Term(s string) string {
	if isNormal(s, false) {
		return s
	}
	return string(AppendTerm(nil, s))
}

// Prefix returns the normal form of what somebody has typed so far. It differs from
// Term in that one space at the end stays: it says that a word is over. Of a prefix
// that is in this form already, and ASCII, it returns s itself and allocates nothing.
func Prefix(s string) string {
	if isNormal(s, true) {
		return s
	}
	return string(AppendPrefix(nil, s))
}

// AppendTerm appends the normal form of a term. Of ASCII it allocates nothing if dst has
// room.
func AppendTerm(dst []byte, s string) []byte {
	begin := len(dst)
	dst = AppendPrefix(dst, s)
	if n := len(dst) - 1; n >= begin && dst[n] == ' ' {
		dst = dst[:n]
	}
	return dst
}

// AppendPrefix appends the normal form of a prefix. Of ASCII it allocates nothing if dst
// has room.
func AppendPrefix(dst []byte, s string) []byte {
	begin := len(dst)
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			return appendUnicode(dst[:begin], s, true)
		case c <= ' ' || c == 0x7f:
			if n := len(dst); n > begin && dst[n-1] != ' ' {
				dst = append(dst, ' ')
			}
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c+'a'-'A')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// isNormal tells whether s is ASCII in normal form.
func isNormal(s string, prefix bool) bool {
	before := byte(' ')
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || c == ' ' && before == ' ' {
			return false
		}
		before = c
	}
	return prefix || s == "" || before != ' '
}

// appendUnicode appends the form of any text, folded or not. Bytes that are no UTF-8 keep
// apart what is before and after them.
func appendUnicode(dst []byte, s string, folded bool) []byte {
	begin := len(dst)
	for valid := 0; ; {
		r, size := utf8.DecodeRuneInString(s[valid:])
		if size > 1 || r != utf8.RuneError {
			valid += size
			continue
		}
		dst = appendValid(dst, s[:valid], folded, len(dst) > begin)
		if size == 0 {
			return dst
		}
		dst = append(dst, s[valid])
		s, valid = s[valid+1:], 0
	}
}

// appendValid appends the form of UTF-8. A space at its beginning counts only inside a
// text.
func appendValid(dst []byte, s string, folded, inside bool) []byte {
	apart := norm.NFD.String(s)
	text := make([]byte, 0, len(apart)+8)
	for i, r := range apart {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			if n := len(text); n == 0 && inside || n > 0 && text[n-1] != ' ' {
				text = append(text, ' ')
			}
		case !folded:
			text = append(text, apart[i:i+utf8.RuneLen(r)]...)
		default:
			text = appendFolded(text, r)
		}
	}
	return appendComposed(dst, text)
}

// appendComposed composes text that is decomposed and in canonical order. Package
// unicode/norm looks only at the lower 16 bits of a letter for what it makes with a mark
// (U+10041 and an acute are Á to it), and no letter above them is composed with a mark
// below: these are left as they are.
func appendComposed(dst, text []byte) []byte {
	begin := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		if r <= 0xFFFF {
			continue
		}
		end := i
		for end < len(text) {
			r, size := utf8.DecodeRune(text[end:])
			if r > 0xFFFF || norm.NFD.Properties(text[end:]).CCC() == 0 {
				break
			}
			end += size
		}
		if end > i {
			dst = append(dst, norm.NFC.Bytes(text[begin:i])...)
			dst = append(dst, text[i:end]...)
			begin, i = end, end
		}
	}
	return append(dst, norm.NFC.Bytes(text[begin:])...)
}

// long has the characters that fold to several ones, of those that NFD leaves.
var long = map[rune]string{
	'ß': "ss", 'ẞ': "ss", 'ŉ': "ʼn", 'և': "եւ", 'ẚ': "aʾ",
	'ﬀ': "ff", 'ﬁ': "fi", 'ﬂ': "fl", 'ﬃ': "ffi", 'ﬄ': "ffl", 'ﬅ': "st", 'ﬆ': "st",
	'ﬓ': "մն", 'ﬔ': "մե", 'ﬕ': "մի", 'ﬖ': "վն", 'ﬗ': "մխ",
}

func appendFolded(dst []byte, r rune) []byte {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return append(dst, byte(r))
	}
	if l, ok := long[r]; ok {
		return append(dst, l...)
	}
	return utf8.AppendRune(dst, simple(r))
}

// simple returns the simple folding of a character: the lower-case one of those that
// differ in case only, but for Cherokee the upper-case one, as Unicode has it.
func simple(r rune) rune {
	if unicode.SimpleFold(r) == r {
		return r
	}
	if unicode.Is(unicode.Cherokee, r) {
		return unicode.ToUpper(r)
	}
	return unicode.ToLower(unicode.ToUpper(r))
}

// Tidy returns a term as people may read it: composed (NFC) and with single spaces, in
// its own case.
func Tidy(s string) string {
	return strings.TrimSuffix(string(appendUnicode(nil, s, false)), " ")
}
