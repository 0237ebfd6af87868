package vfs

var fullErrors []error
