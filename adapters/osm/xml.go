package osm

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// An object is a node, way or relation as a file has it. Only what its kind has is set.
type object struct {
	kind     kind
	id       int64
	tags     Tags
	lat, lon float64
	refs     []int64 // of a way: its nodes
	members  []member
}

type kind int

const (
	aNode kind = iota
	aWay
	aRelation
)

type member struct {
	kind kind
	ref  int64
	role string
}

// scanXML calls yield for each object. With nodesOnly, ways and relations are passed over.
func scanXML(ctx context.Context, r io.Reader, nodesOnly bool, yield func(*object) error) error {
	d := xml.NewDecoder(r)
	root := false
	for n := 0; ; n++ {
		if n&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			if !root {
				return fmt.Errorf("%w: no element osm", ErrCorrupt)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		var o object
		switch e.Name.Local {
		case "osm":
			root = true
			continue
		case "node":
			o.kind = aNode
		case "way":
			o.kind = aWay
		case "relation":
			o.kind = aRelation
		default:
			if !root {
				return fmt.Errorf("%w: the first element is %q, want osm", ErrCorrupt, e.Name.Local)
			}
			if err := d.Skip(); err != nil {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			continue
		}
		if !root {
			return fmt.Errorf("%w: element %q outside osm", ErrCorrupt, e.Name.Local)
		}
		if nodesOnly && o.kind != aNode {
			if err := d.Skip(); err != nil {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			continue
		}
		if err := o.readXML(d, e); err != nil {
			line, _ := d.InputPos()
			return fmt.Errorf("%w: line %d: %w", ErrCorrupt, line, err)
		}
		if err := yield(&o); err != nil {
			return err
		}
	}
}

// readXML reads an object to its end.
func (o *object) readXML(d *xml.Decoder, e xml.StartElement) error {
	var err error
	if o.id, err = strconv.ParseInt(attr(e, "id"), 10, 64); err != nil {
		return fmt.Errorf("the id of a %s is %q", e.Name.Local, attr(e, "id"))
	}
	if o.kind == aNode {
		var latErr, lonErr error
		o.lat, latErr = strconv.ParseFloat(attr(e, "lat"), 64)
		o.lon, lonErr = strconv.ParseFloat(attr(e, "lon"), 64)
		if latErr != nil || lonErr != nil {
			return fmt.Errorf("node %d is at %q, %q", o.id, attr(e, "lat"), attr(e, "lon"))
		}
	}
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			switch t.Name.Local {
			case "tag":
				if o.tags == nil {
					o.tags = Tags{}
				}
				o.tags[attr(t, "k")] = attr(t, "v")
			case "nd":
				ref, err := strconv.ParseInt(attr(t, "ref"), 10, 64)
				if err != nil {
					return fmt.Errorf("%s %d has the node %q", e.Name.Local, o.id, attr(t, "ref"))
				}
				o.refs = append(o.refs, ref)
			case "member":
				m := member{role: attr(t, "role")}
				switch attr(t, "type") {
				case "node":
					m.kind = aNode
				case "way":
					m.kind = aWay
				default:
					m.kind = aRelation
				}
				if m.ref, err = strconv.ParseInt(attr(t, "ref"), 10, 64); err != nil {
					return fmt.Errorf("relation %d has the member %q", o.id, attr(t, "ref"))
				}
				o.members = append(o.members, m)
			}
			if err := d.Skip(); err != nil {
				return err
			}
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}
