// Package house holds the tests over the whole tree: which package may depend on
// what, that every exported name is explained and every package has an Example,
// that the README lists them all, and that no file tells of one machine.
//
// The tests read the sources themselves. They start no go command, since the
// test cache would not see what another process reads: a cached pass could hide
// a new dependency.
package house
