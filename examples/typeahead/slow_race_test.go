//go:build race

package main

const phrasesInTest = 5000
