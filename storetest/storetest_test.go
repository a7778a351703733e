package storetest_test

import "testing"

func TestExample(t *testing.T) { testStore(t) }
