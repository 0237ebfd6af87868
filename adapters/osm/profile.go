package osm

import (
	"strconv"
	"strings"
	"time"
)

// Tags are what OpenStreetMap says about a node, way or relation.
type Tags map[string]string

// A Road is what a profile makes of a way.
type Road struct {
	// Forward and Backward are speeds in km/h along the nodes of the way and against
	// them. Zero closes that direction.
	Forward, Backward float64

	// Duration, if it is not zero, is how long the whole way takes, whatever the speeds
	// that are not zero say: ferries have it.
	Duration time.Duration
}

// A Profile says for which roads a network is. Its functions are called once for each
// object, from one goroutine.
type Profile struct {
	// Way returns what the vehicle makes of a way.
	Way func(Tags) Road
	// Open reports whether the vehicle can pass a node.
	Open func(Tags) bool
	// Vehicles are the names by which restrictions except it or are made for it, the most
	// special first: motorcar, motor_vehicle, vehicle.
	Vehicles []string
}

// Car returns the profile of a car.
func Car() *Profile {
	vehicles := []string{"motorcar", "motor_vehicle", "vehicle"}
	return &Profile{
		Way:      func(t Tags) Road { return carRoad(t, vehicles) },
		Open:     func(t Tags) bool { return carOpen(t, vehicles) },
		Vehicles: vehicles,
	}
}

// usual speeds in km/h, where there is no limit posted.
var usual = map[string]float64{
	"motorway": 110, "motorway_link": 60, "trunk": 90, "trunk_link": 50, "primary": 65, "primary_link": 45,
	"secondary": 55, "secondary_link": 40, "tertiary": 45, "tertiary_link": 35, "unclassified": 40, "residential": 30,
	"living_street": 10, "service": 15, "road": 30, "track": 10,
}

const (
	ferry      = 15.0 // km/h
	fastest    = 130.0
	walk       = 6.0
	kmPerMile  = 1.609344
	kmPerKnots = 1.852
)

func carRoad(t Tags, vehicles []string) Road {
	if access(t, vehicles) == closed || t["area"] == "yes" {
		return Road{}
	}
	speed, ok := usual[t["highway"]]
	switch {
	case t["route"] == "ferry":
		if access(t, vehicles) != open { // most are for all only if they say so
			return Road{}
		}
		r := Road{Forward: ferry, Backward: ferry, Duration: duration(t["duration"])}
		return oneway(t, r)
	case !ok, t["highway"] == "track" && access(t, vehicles) != open:
		return Road{}
	}
	if v, ok := maxspeed(t["maxspeed"]); ok {
		speed = v
	}
	r := Road{Forward: speed, Backward: speed}
	if v, ok := maxspeed(t["maxspeed:forward"]); ok {
		r.Forward = v
	}
	if v, ok := maxspeed(t["maxspeed:backward"]); ok {
		r.Backward = v
	}
	return oneway(t, r)
}

type verdict int

const (
	unsaid verdict = iota
	open
	closed
)

// access returns what the most special tag says.
func access(t Tags, vehicles []string) verdict {
	for _, key := range append(vehicles[:len(vehicles):len(vehicles)], "access") {
		switch t[key] {
		case "":
		case "no", "private", "agricultural", "forestry", "military", "emergency", "use_sidepath", "discouraged":
			return closed
		default:
			return open
		}
	}
	return unsaid
}

func carOpen(t Tags, vehicles []string) bool {
	switch access(t, vehicles) {
	case open:
		return true
	case closed:
		return false
	}
	switch t["barrier"] {
	case "bollard", "block", "chain", "cycle_barrier", "debris", "full-height_turnstile", "horse_stile", "jersey_barrier",
		"kerb", "kissing_gate", "log", "motorcycle_barrier", "planter", "rope", "stile", "swing_gate", "turnstile", "wall":
		return t["locked"] == "no"
	case "gate", "lift_gate", "sliding_gate":
		return t["locked"] != "yes"
	}
	return true
}

func oneway(t Tags, r Road) Road {
	tag := t["oneway:motor_vehicle"]
	if tag == "" {
		tag = t["oneway"]
	}
	switch tag {
	case "yes", "true", "1":
		r.Backward = 0
	case "-1", "reverse":
		r.Forward = 0
	case "no", "false", "0":
	case "reversible", "alternating":
		r.Forward, r.Backward = 0, 0
	default:
		if t["junction"] == "roundabout" || t["junction"] == "circular" || t["highway"] == "motorway" {
			r.Backward = 0
		}
	}
	return r
}

// maxspeed returns a limit in km/h.
func maxspeed(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	if i := strings.IndexByte(s, ';'); i >= 0 {
		s = strings.TrimSpace(s[:i])
	}
	switch {
	case s == "":
		return 0, false
	case s == "none":
		return fastest, true
	case s == "walk":
		return walk, true
	case strings.HasSuffix(s, ":motorway"):
		return fastest, true
	case strings.HasSuffix(s, ":rural"):
		if s == "DE:rural" || s == "AT:rural" {
			return 100, true
		}
		return 90, true
	case strings.HasSuffix(s, ":urban"):
		return 50, true
	case strings.HasSuffix(s, ":living_street"):
		return 10, true
	}
	unit := 1.0
	for _, u := range []struct {
		name string
		km   float64
	}{{"mph", kmPerMile}, {"knots", kmPerKnots}, {"km/h", 1}, {"kmh", 1}, {"kph", 1}} {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSpace(rest), u.km
			break
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 1 && v <= 500) {
		return 0, false
	}
	return v * unit, true
}

// duration reads hours and minutes, 1:30 or 1:30:00, or minutes.
func duration(s string) time.Duration {
	parts := strings.Split(s, ":")
	if s == "" || len(parts) > 3 {
		return 0
	}
	if len(parts) == 1 {
		parts = []string{"0", parts[0]}
	}
	sum, unit := time.Duration(0), time.Hour
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return 0
		}
		sum += time.Duration(n) * unit
		unit /= 60
	}
	return sum
}
