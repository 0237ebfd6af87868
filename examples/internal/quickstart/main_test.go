package main

func Example() {
	main()
	// Output:
	// Bob must wait: true
	// Ann writes: <nil>
	// Bob's token is higher: true
	// Bob writes: <nil>
	// Ann is refused: true
	// The invoice is by Bob
}
