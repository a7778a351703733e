package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

// Each view of the ward's page, in the sizes and colours it is made for. The
// directory that SCREENSHOTS names gets the pictures of docs/screens. Nothing is
// wider than its window, and nothing is written to the console.
func TestBrowserScreens(t *testing.T) {
	b := openBrowser(t)
	w := openWard(t, "-seed", "1", "-step", "600")
	ada := b.open("ada", w.http()+"/#token=nurse-ada")
	rosa := b.open("rosa", w.http()+"/#token=rosa")
	wall := b.open("wall", w.http()+"/#token=screen-5")
	ada.shows(card("p-12", "Heart rate"), "HR")
	gateway := dial(t, w.url(), "gateway-1")
	raise(t, gateway, "p-04", "fall", "Fall detected")
	rosa.click(`#call [data-feel="pain"]`)
	rosa.click("#call [data-yes]")
	ada.shows("#alerts .line2", "Patient is in pain and calls a nurse")
	ada.click(row("Fall detected") + " .accept")
	ada.click(`cw-patient[patient="p-02"] h3 button`)
	process.Poll(t, process.Patience, func() (bool, string) { return len(ada.texts("#waves figcaption")) == 3, "three waves" })
	wall.shows(`cw-wall [data-patient="p-01"] header`, "◆")

	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	for _, view := range []struct {
		tab           tab
		name, scheme  string
		width, height int
	}{
		{ada, "desk", "light", 1440, 900}, {ada, "desk", "dark", 1440, 900}, {ada, "phone", "light", 390, 844}, {ada, "phone", "dark", 390, 844},
		{rosa, "patient", "light", 390, 844}, {rosa, "patient", "dark", 390, 844}, {wall, "wall", "light", 1920, 1080}, {wall, "wall", "dark", 1920, 1080},
	} {
		file := filepath.Join(dir, fmt.Sprintf("%s-%s.png", view.name, view.scheme))
		view.tab.do(map[string]string{"do": "look", "tab": view.tab.name, "file": file, "scheme": view.scheme, "width": fmt.Sprint(view.width), "height": fmt.Sprint(view.height)}, nil)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.NotZero(t, info.Size())
		wide := true
		view.tab.do(map[string]string{"do": "wide", "tab": view.tab.name}, &wide)
		require.False(t, wide, "%s is wider than its window", view.name)
	}
	for _, p := range []tab{ada, rosa, wall} {
		require.Empty(t, p.said(), "%s wrote to its console", p.name)
	}
}
