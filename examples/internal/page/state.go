package page

// A Kind says how something stands. It is shown by a sign or a weight besides
// the one accent colour.
type Kind string

// The kinds. The zero Kind is the ordinary case.
const (
	OK    Kind = "ok"    // done, accepted
	Bad   Kind = "bad"   // refused, lost, failed
	Hot   Kind = "hot"   // what to look at now: the holder, the leader
	Muted Kind = "muted" // over, out of play
)

// A Cell is a value with a kind, for data-text and the cells of a table.
type Cell struct {
	Text any  `json:"text"`
	Kind Kind `json:"kind,omitempty"`
}

// A Row is a row for data-table: the columns by name, besides "key" (what makes
// the row the same from state to state), "kind" and "do" ([]Button).
type Row map[string]any

// A Button is a command in a row of a table.
type Button struct {
	Name  string            `json:"name"` // of the command
	Label string            `json:"label"`
	Args  map[string]string `json:"args,omitempty"`
	Off   bool              `json:"off,omitempty"`
}

// A Chip is an entry of data-queue. Keys must differ within a queue; a chip
// without one goes by its text.
type Chip struct {
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
	Kind Kind   `json:"kind,omitempty"`
}

// A Bar is an entry of data-bars. The longest bar fills the width, or the one
// with the largest Max.
type Bar struct {
	Label string   `json:"label"`
	Value float64  `json:"value"`
	Max   *float64 `json:"max,omitempty"`
	Note  string   `json:"note,omitempty"` // shown instead of the value
	Kind  Kind     `json:"kind,omitempty"`
}

// An Event is a line of data-trace.
type Event struct {
	Key  string `json:"key,omitempty"` // needed where old lines are dropped
	At   string `json:"at,omitempty"`
	Who  string `json:"who,omitempty"`
	Text string `json:"text"`
	Kind Kind   `json:"kind,omitempty"`
}

// A Chart is what data-line shows: the first series in the accent colour.
type Chart struct {
	Unit   string   `json:"unit,omitempty"`
	From   string   `json:"from,omitempty"` // labels of the ends of the axis
	To     string   `json:"to,omitempty"`
	Series []Series `json:"series"`
}

// A Series is a line of a chart, by ascending x.
type Series struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
}

// A Map is what data-map shows. Y grows to the north.
type Map struct {
	Label  string     `json:"label,omitempty"` // for those who do not see it
	Box    [4]float64 `json:"box"`             // west, south, east, north
	Lines  []Line     `json:"lines,omitempty"`
	Points []Point    `json:"points,omitempty"`
}

// A Line is a road or a route.
type Line struct {
	Key    string       `json:"key,omitempty"`
	Points [][2]float64 `json:"points"`
	Kind   Kind         `json:"kind,omitempty"`
}

// A Point is a place or a vehicle.
type Point struct {
	Key   string  `json:"key,omitempty"`
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
	Size  float64 `json:"size,omitempty"` // radius in pixels
	Label string  `json:"label,omitempty"`
	Kind  Kind    `json:"kind,omitempty"`
}
