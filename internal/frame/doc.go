// Package frame writes and reads checked records in files that may be torn,
// damaged or recycled.
//
// A frame is a header of 16 bytes, the payload, and zeros up to a multiple of
// 8 bytes. Integers are little-endian:
//
//	offset  size  field
//	0       4     length of the payload plus one, so that zero is no frame
//	4       4     tag, free for the caller
//	8       4     CRC-32C of the payload
//	12      4     CRC-32C of salt, position and the 12 bytes before
//
// The header's own checksum serves three ends. A length is believed only after
// it is checked, so nothing is allocated for a length that is garbage. A torn
// payload is told from a place where no frame was ever written. And because
// [Salt] (made of a random id and the segment's number) and the frame's position
// take part in it, a frame left from another file, from the former life of a
// recycled segment, or copied into somebody's payload never passes for a frame
// of this place.
//
// A [Scanner] walks the frames of a range. Where they stop it looks at all that
// follows, and says which it is: the end ([Clean]), the remains of an
// unfinished write ([Torn]), or damage in the middle ([Damaged]), after which
// it can go on at the next frame that verifies.
package frame
