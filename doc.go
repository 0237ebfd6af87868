// Package ashlar is a placeholder for the guide to the packages.
package ashlar
