// Package redis keeps limits, idempotency keys and a cache in Redis, where all
// processes share them.
package redis
