package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// File of an object, version 1. Integers are little-endian.
//
//	offset  size  field
//	0       4     magic "BLB\x00"
//	4       1     format version, 1
//	5       3     zero
//	8       8     size of the object in bytes
//	16      8     time of the put, nanoseconds since 1970
//	24      16    the object's version
//	40      4     CRC-32C of the key, then of the bytes before
//	44            blocks, each 64 KiB of the object, the last one less, and then
//	        4     CRC-32C of the object's version, the block's number (8 bytes)
//	              and its bytes
//
// The sums cover the key, the version and the number, so a file under another
// name and a block from another place are found out as well as flipped bits.
// The constants are part of the format: never renumber.
const (
	magic         = "BLB\x00"
	formatVersion = 1
	headerLen     = 44
	blockLen      = 64 << 10
	sumLen        = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A header is what a file tells about its object.
type header struct {
	size     int64
	modified int64
	version  version
}

func (h header) info(key string) Info {
	return Info{Key: key, Size: h.size, Version: h.version.String(), Modified: time.Unix(0, h.modified)}
}

func (h header) append(b []byte, key string) []byte {
	start := len(b)
	b = append(b, magic...)
	b = append(b, formatVersion, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.size))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.modified))
	b = append(b, h.version[:]...)
	return binary.LittleEndian.AppendUint32(b, headerSum(b[start:], key))
}

func headerSum(b []byte, key string) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, b)
}

// parseHeader reads the header of a file of fileSize bytes.
func parseHeader(b []byte, key string, fileSize int64) (header, error) {
	if len(b) < headerLen || string(b[:4]) != magic {
		return header{}, fmt.Errorf("%w: %q: no header", ErrCorrupt, key)
	}
	if b[4] != formatVersion {
		return header{}, fmt.Errorf("%w: %q has %d, known is %d", ErrVersion, key, b[4], formatVersion)
	}
	if got, want := headerSum(b[:40], key), binary.LittleEndian.Uint32(b[40:]); got != want || b[5]|b[6]|b[7] != 0 {
		return header{}, fmt.Errorf("%w: %q: header fails its checksum", ErrCorrupt, key)
	}
	size := binary.LittleEndian.Uint64(b[8:])
	if size > math.MaxInt64/2 || fileLen(int64(size)) != fileSize {
		return header{}, fmt.Errorf("%w: %q: file of %d bytes for an object of %d", ErrCorrupt, key, fileSize, size)
	}
	h := header{size: int64(size), modified: int64(binary.LittleEndian.Uint64(b[16:]))}
	copy(h.version[:], b[24:])
	return h, nil
}

// fileLen returns the length of the file of an object of size bytes.
func fileLen(size int64) int64 {
	return headerLen + size + (size+blockLen-1)/blockLen*sumLen
}

func blockSum(v version, number int64, data []byte) uint32 {
	var salt [len(v) + 8]byte
	copy(salt[:], v[:])
	binary.LittleEndian.PutUint64(salt[len(v):], uint64(number))
	return crc32.Update(crc32.Checksum(salt[:], castagnoli), castagnoli, data)
}

// readHeader reads the header of an open file.
func readHeader(f vfs.File, key string) (header, error) {
	size, err := f.Size()
	if err != nil {
		return header{}, err
	}
	var b [headerLen]byte
	if n, err := f.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return header{}, err
	} else {
		return parseHeader(b[:n], key, size)
	}
}

// writeObject writes an object that r yields to an empty file, and syncs it
// unless sync is false. Buf has room for a block and its sum.
func writeObject(f vfs.File, key string, r io.Reader, buf []byte, sync bool) (header, error) {
	h := header{version: newVersion(), modified: time.Now().UnixNano()}
	off := int64(headerLen)
	for number, last := int64(0), false; !last; number++ {
		var n int
		var err error
		if n, last, err = readBlock(r, buf[:blockLen]); err != nil {
			return header{}, err
		}
		if n == 0 {
			break
		}
		sum := blockSum(h.version, number, buf[:n])
		block := binary.LittleEndian.AppendUint32(buf[:n], sum)
		if _, err := f.WriteAt(block, off); err != nil {
			return header{}, err
		}
		off += int64(len(block))
		h.size += int64(n)
	}
	if _, err := f.WriteAt(h.append(nil, key), 0); err != nil {
		return header{}, err
	}
	if !sync {
		return h, nil
	}
	return h, f.Sync()
}

// readBlock fills b as far as r goes; last tells that r has ended. It is not
// io.ReadFull, which reports the end as io.ErrUnexpectedEOF: a reader that was
// cut off, such as the body of a request, says the same.
func readBlock(r io.Reader, b []byte) (n int, last bool, err error) {
	for n < len(b) {
		k, err := r.Read(b[n:])
		n += k
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// An objectReader yields a range of an object and checks every block it touches.
type objectReader struct {
	f   vfs.File
	key string
	h   header
	off int64 // next byte of the object to yield
	end int64

	buf    []byte                   // the checked bytes of a block, from off on
	block  *[blockLen + sumLen]byte // the memory for it, nil until needed
	blocks *sync.Pool               // where that comes from
	err    error
}

func (r *objectReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.buf) == 0 && r.err == nil {
		r.err = r.fill()
	}
	if len(r.buf) == 0 {
		return 0, r.err
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	r.off += int64(n)
	return n, nil
}

// WriteTo implements [io.WriterTo], so that io.Copy needs no buffer of its own.
func (r *objectReader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if len(r.buf) == 0 && r.err == nil {
			r.err = r.fill()
		}
		if len(r.buf) == 0 {
			if r.err == io.EOF {
				return n, nil
			}
			return n, r.err
		}
		k, err := w.Write(r.buf)
		n += int64(k)
		r.off += int64(k)
		r.buf = r.buf[k:]
		if err != nil {
			return n, err
		}
	}
}

// fill reads the block that holds off.
func (r *objectReader) fill() error {
	if r.off >= r.end {
		return io.EOF
	}
	number := r.off / blockLen
	start := number * blockLen
	n := min(blockLen, r.h.size-start)
	if r.block == nil {
		r.block = r.blocks.Get().(*[blockLen + sumLen]byte)
	}
	b := r.block[:n+sumLen]
	if k, err := r.f.ReadAt(b, headerLen+number*(blockLen+sumLen)); k < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrCorrupt // shorter than when it was opened
		}
		return fmt.Errorf("blob: %q, block %d: %w", r.key, number, err)
	}
	if blockSum(r.h.version, number, b[:n]) != binary.LittleEndian.Uint32(b[n:]) {
		return fmt.Errorf("%w: %q, block %d fails its checksum", ErrCorrupt, r.key, number)
	}
	r.buf = b[r.off-start : min(n, r.end-start)]
	return nil
}

func (r *objectReader) Close() error {
	r.buf, r.err = nil, fs.ErrClosed
	if r.block != nil {
		r.blocks.Put(r.block)
		r.block = nil
	}
	return r.f.Close()
}
