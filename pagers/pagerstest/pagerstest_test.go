package pagerstest_test

import "testing"

func TestExample(t *testing.T) { testQueue(t) }
