package redis_test

func node(string) {}
