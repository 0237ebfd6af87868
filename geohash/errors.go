package geohash

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by the errors for arguments that cannot be used: a
// coordinate out of range, a text that is no geohash, a negative radius.
var ErrInvalid = errors.New("geohash: invalid argument")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// check returns an error for what is no point on the Earth, NaN included.
func check(lat, lon float64) error {
	if !(lat >= -90 && lat <= 90) {
		return invalid("latitude %v outside [-90, 90]", lat)
	}
	if !(lon >= -180 && lon <= 180) {
		return invalid("longitude %v outside [-180, 180] (see Wrap)", lon)
	}
	return nil
}
