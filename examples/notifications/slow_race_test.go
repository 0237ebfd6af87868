//go:build race

package main

const devices = 60
