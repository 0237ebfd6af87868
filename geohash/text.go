package geohash

// MaxChars is the length of the longest text: 12 characters of 5 bits.
const MaxChars = MaxBits / 5

const alphabet = "0123456789bcdefghjkmnpqrstuvwxyz"

// pairs holds two letters for each ten bits.
var pairs = func() (t [1024][2]byte) {
	for i := range t {
		t[i] = [2]byte{alphabet[i>>5], alphabet[i&31]}
	}
	return t
}()

// values holds the five bits of a letter, and 255 for what is none.
var values = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}()

// Encode returns the geohash of a point in degrees, of 1 to 12 characters. The
// errors are those of [CellAt].
func Encode(lat, lon float64, chars int) (string, error) {
	var b [MaxChars]byte
	s, err := AppendEncode(b[:0], lat, lon, chars)
	return string(s), err
}

// AppendEncode appends the geohash of a point to dst.
func AppendEncode(dst []byte, lat, lon float64, chars int) ([]byte, error) {
	if uint(chars-1) >= MaxChars {
		return dst, invalid("%d characters, want 1 to %d", chars, MaxChars)
	}
	if !(lat >= -90 && lat <= 90) || !(lon >= -180 && lon <= 180) {
		return dst, check(lat, lon)
	}
	return appendText(dst, curve(lat, lon), chars), nil
}

func appendText(dst []byte, h uint64, chars int) []byte {
	var b [MaxChars]byte
	for i := 0; i < MaxChars; i += 2 {
		p := &pairs[h>>54]
		b[i], b[i+1] = p[0], p[1]
		h <<= 10
	}
	return append(dst, b[:chars]...)
}

// Parse returns the cell of a geohash of 1 to 12 of the letters
// 0123456789bcdefghjkmnpqrstuvwxyz, five bits each.
func Parse(s string) (Cell, error) {
	if len(s) == 0 || len(s) > MaxChars {
		return 0, invalid("a geohash of %d characters, want 1 to %d", len(s), MaxChars)
	}
	var h uint64
	for i := range len(s) {
		v := values[s[i]]
		if v > 31 {
			return 0, invalid("%q in a geohash, want one of %s", s[i], alphabet)
		}
		h = h<<5 | uint64(v)
	}
	return Cell((h<<1 | 1) << (63 - 5*len(s))), nil
}

// String returns the geohash of c. Where c has not a multiple of five bits, that
// is the one of its first part which has, followed by a slash and the number of
// bits: "u4/8" has eight. Parse does not read that form.
func (c Cell) String() string {
	var b [MaxChars + 3]byte
	return string(c.appendTo(b[:0]))
}

func (c Cell) appendTo(b []byte) []byte {
	if !c.Valid() {
		return append(b, "invalid"...)
	}
	n := c.Bits()
	b = appendText(b, c.hash(), (n+4)/5)
	if n%5 != 0 {
		b = append(b, '/')
		if n >= 10 {
			b = append(b, byte('0'+n/10))
		}
		b = append(b, byte('0'+n%10))
	}
	return b
}
