module github.com/ashlar-go/ashlar/adapters/osm

go 1.25.0

require github.com/ashlar-go/ashlar v0.0.0

require google.golang.org/protobuf v1.36.12

replace github.com/ashlar-go/ashlar => ../..
