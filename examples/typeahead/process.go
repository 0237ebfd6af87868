package main

import "github.com/ashlar-go/ashlar/examples/internal/child"

// roles are the processes that the story needs. This program starts itself again as them.
var roles = child.Roles{"node": playNode}
