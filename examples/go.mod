module github.com/ashlar-go/ashlar/examples

go 1.25.0

require github.com/ashlar-go/ashlar v0.0.0

replace github.com/ashlar-go/ashlar => ../
