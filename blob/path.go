package blob

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Names of files. A key's segments become folders, its last one the file, each
// escaped and with a letter in front:
//
//	o_NAME  an object: the key ends here
//	d_NAME  a folder: the key goes on after a '/'
//	c_NAME  a folder: the segment itself goes on, since file names end at 255 bytes
//
// so "Photos/cat.jpg" is d_%50hotos/o_cat.jpg. Lower-case letters, digits, '.',
// '_' and '-' stand for themselves, but for a '.' at the end of a name, which
// Windows drops; every other byte is %XX in lower-case hexadecimal. The letter
// in front keeps names apart that are special somewhere (con, .., .hidden).
//
// A segment is cut as soon as its escaped form has reached pieceLen bytes,
// whatever follows. So no o_ or d_ name is as long as a c_ name that begins with
// it, and the entries of a folder, sorted by what they stand for (an object's
// name, a folder's name and '/', a piece), are in the order of the keys.
//
// All of this is part of the format: never change it.

const pieceLen = 198 // a name has at most pieceLen + 2 + 4 + len("o_") bytes

const hexDigits = "0123456789abcdef"

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// escape returns name with the bytes that are not plain written as %XX.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; plain(c) && (c != '.' || i+1 < len(name)) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// unescape undoes escape; ok is false for what escape never returns.
func unescape(s string) (name string, ok bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	name = string(b)
	return name, escape(name) == s
}

// cut splits the first piece off a segment. More tells that the piece is a c_
// name, after which rest, perhaps empty, goes on.
func cut(segment string) (piece, rest string, more bool) {
	n := 0
	for i := range len(segment) {
		if plain(segment[i]) {
			n++
		} else {
			n += 3
		}
		if n >= pieceLen {
			return segment[:i+1], segment[i+1:], true
		}
	}
	return segment, "", false
}

// keyPath returns the path of a key's file, relative to the objects' folder.
func keyPath(key string) string {
	dir, last := folders(key)
	return filepath.Join(append(dir, "o_"+escape(last))...)
}

// folders returns the names of the folders that lead to the entries for a key
// or a prefix, and what is left of it for these entries.
func folders(prefix string) (dir []string, rest string) {
	for rest = prefix; ; {
		segment, next, slash := strings.Cut(rest, "/")
		piece, left, more := cut(segment)
		switch {
		case more:
			dir = append(dir, "c_"+escape(piece))
			rest = left
			if slash {
				rest += "/" + next
			}
		case slash:
			dir = append(dir, "d_"+escape(segment))
			rest = next
		default:
			return dir, rest
		}
	}
}

// An entry is a name in a folder of the tree, decoded.
type entry struct {
	file   string // as it is on disk
	text   string // what it adds to the key
	folder bool
}

// parseEntry decodes a file name; ok is false for a name that is not ours.
func parseEntry(file string) (e entry, ok bool) {
	if len(file) < 2 {
		return entry{}, false
	}
	name, ok := unescape(file[2:])
	if !ok {
		return entry{}, false
	}
	switch file[:2] {
	case "o_":
		return entry{file, name, false}, true
	case "d_":
		return entry{file, name + "/", true}, true
	case "c_":
		return entry{file, name, true}, name != ""
	}
	return entry{}, false
}

func notFound(key string) error { return fmt.Errorf("%w: %q", ErrNotFound, key) }
