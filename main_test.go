package carewire

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// After all tests no goroutine of carewire's is left.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftover(patienceOfTests); code == 0 && left != "" {
		fmt.Println("goroutines left:\n" + left)
		code = 1
	}
	os.Exit(code)
}

// leftover waits until no goroutine runs carewire's code but the caller's, and
// shows those that still do when time is up.
func leftover(wait time.Duration) string {
	buf := make([]byte, 1<<22)
	for end := time.Now().Add(wait); ; {
		left := ""
		for i, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if i > 0 && strings.Contains(g, "carewire.") && !strings.Contains(g, "TestMain") {
				left += g + "\n\n"
			}
		}
		if left == "" || time.Now().After(end) {
			return left
		}
		runtime.Gosched()
	}
}
