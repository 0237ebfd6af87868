package main

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// An entry is one request, as a web server writes it down in the combined log
// format of NCSA and Apache:
//
//	203.0.113.9 - ann [02/Mar/2026:09:00:01 +0000] "GET /cart HTTP/1.1" 200 5120 "https://shop.example/" "Mozilla/5.0 …" 1830
//
// The last number is not in every line: servers with the newer configuration add
// how many microseconds they took (%D in Apache's terms).
type entry struct {
	IP      string
	User    string // "" if nobody was signed in
	Time    time.Time
	Method  string
	Path    string
	Status  int
	Bytes   int64
	Referer string
	Agent   string
	Micros  int64 // -1 if the line does not say
}

// What can be wrong with a line. Lines come from machines that crash in the middle
// of one, from configurations with other fields, and from people who send rubbish
// to port 80: they are counted by these reasons, and kept.
var (
	errAddress = errors.New("address")
	errTime    = errors.New("time")
	errRequest = errors.New("request")
	errStatus  = errors.New("status or size")
	errQuotes  = errors.New("quotes")
	errRest    = errors.New("something behind the end")
)

const logTime = "02/Jan/2006:15:04:05 -0700"

// parse reads a line.
func parse(line string) (e entry, err error) {
	e.Micros = -1
	head, rest, ok := strings.Cut(line, " [")
	fields := strings.Fields(head)
	if !ok || len(fields) != 3 || !strings.ContainsAny(fields[0], ".:") {
		return e, errAddress
	}
	e.IP = fields[0]
	if fields[2] != "-" {
		e.User = fields[2]
	}
	stamp, rest, ok := strings.Cut(rest, "] ")
	if e.Time, err = time.Parse(logTime, stamp); !ok || err != nil {
		return e, errTime
	}
	e.Time = e.Time.UTC()
	request, rest, ok := quoted(rest)
	if !ok {
		return e, errQuotes
	}
	words := strings.Fields(request)
	if len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/") || !strings.HasPrefix(words[1], "/") {
		return e, errRequest
	}
	e.Method, e.Path = words[0], words[1]

	status, rest, _ := strings.Cut(strings.TrimPrefix(rest, " "), " ")
	size, rest, ok := strings.Cut(rest, " ")
	if e.Status, err = strconv.Atoi(status); err != nil || !ok || e.Status < 100 || e.Status > 599 {
		return e, errStatus
	}
	if size != "-" { // no body
		if e.Bytes, err = strconv.ParseInt(size, 10, 64); err != nil || e.Bytes < 0 {
			return e, errStatus
		}
	}
	if e.Referer, rest, ok = quoted(rest); !ok {
		return e, errQuotes
	}
	if e.Agent, rest, ok = quoted(strings.TrimPrefix(rest, " ")); !ok {
		return e, errQuotes
	}
	if rest != "" {
		if e.Micros, err = strconv.ParseInt(strings.TrimPrefix(rest, " "), 10, 64); err != nil || e.Micros < 0 {
			return e, errRest
		}
	}
	return e, nil
}

// quoted takes a text in quotes from the beginning of s. A quote within is written
// as \", as servers do with what clients send.
func quoted(s string) (text, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return strings.ReplaceAll(s[1:i], `\"`, `"`), s[i+1:], true
		}
	}
	return "", s, false
}

// line writes e down, as the servers of traffic.go do.
func (e *entry) line() string {
	user, size := e.User, strconv.FormatInt(e.Bytes, 10)
	if user == "" {
		user = "-"
	}
	if e.Bytes == 0 {
		size = "-"
	}
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
	line := e.IP + " - " + user + " [" + e.Time.Format(logTime) + "] " + quote(e.Method+" "+e.Path+" HTTP/1.1") +
		" " + strconv.Itoa(e.Status) + " " + size + " " + quote(e.Referer) + " " + quote(e.Agent)
	if e.Micros >= 0 {
		line += " " + strconv.FormatInt(e.Micros, 10)
	}
	return line
}
