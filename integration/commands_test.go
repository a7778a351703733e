//go:build unix

package integration

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

// commands are the commands that documents name outside of their blocks of code, in the
// text, in tables and in indented lines. Each has the test that runs it; or "CI: " and
// words of .ci/run, which does; or "not: " and the reason.
var commands = map[string]string{
	"apt install python3-websocket":            "CI: python3-websocket",
	"bash .ci/run":                             "not: it is CI",
	"pip install websocket-client":             "not: Debian's package of the same is tested",
	"ulimit -n":                                "not: a limit of the machine",
	"go build -overlay":                        "not: a flag, which make mutants uses",
	"go doc -all github.com/carewire/carewire": "TestGoDoc",
	"go doc":                              "not: the name of a command",
	"go get":                              "not: the name of a command",
	"go install":                          "not: the name of a command",
	"go test":                             "not: the name of a command",
	"go mod tidy":                         "TestGuideIsAWholeHost",
	"go run .":                            "TestGuideIsAWholeHost",
	"go store.Drain(ctx, hub)":            "TestDeploymentTransactionSnippet",
	"go get github.com/carewire/carewire": `CI: "$tmp/consume" "$PWD"`,
	"pg_dump --data-only":                 "not: a warning",

	"go test work":                      "TestReadmeTests",
	"go test -race work":                "TestReadmeTests",
	"go test ./integration -v":          "CI: go test -race -timeout 40m work",
	"go test ./faults":                  "CI: go test -race -timeout 40m work",
	"CI=1 go test -race ./faults":       "CI: go test -race -timeout 40m work",
	"go test ./js/client -run TestSize": "TestSize",
	"go test -bench . ./rules":          "CI: -bench . -benchtime 1x -timeout 20m . ./boltstore ./rules",
	"go test -fuzz FuzzDecodeRequest .": `CI: -fuzz "^$2\$" -fuzztime 20s`,

	"go run ./bench":        "not: hours; TestWorkloads is its short form",
	"go run ./bench -quick": "TestWorkloads",
	"go run ./bench -only 'postgres-*,nodes-*,watched-*'":                                  "TestWorkloads",
	"go run ./bench -only 'waves-*'":                                                       "TestWorkloads",
	`go run ./bench -only burst -contenders carewire -runs 1 -out "" -cpuprofile cpu.prof`: "TestWorkloads",
	"taskset -c 1 go run ./bench -only beside-100 -apart":                                  "TestWorkloads",

	"go run ./examples/ehr":                                                   "TestRun",
	"go run ./examples/gateway":                                               "TestGatewayReadme",
	"go run ./examples/quickstart":                                            "TestQuickstartPage",
	"go run ./examples/replay examples/replay/data/FILE":                      "TestExamplesRun",
	"go run ./examples/replay examples/replay/data/icu-numerics-s00001n.csv":  "TestExamplesRun",
	"go run ./examples/tls":                                                   "TestExamplesRun",
	"go run ./examples/tls -plaintext -addr 127.0.0.1:8080":                   "TestExamplesRun",
	"go run ./examples/vision":                                                "TestExamplesRun",
	"go run ./examples/voice":                                                 "TestExamplesRun",
	"go run ./examples/ward":                                                  "TestReadmeRunsWard",
	"go run ./examples/ward -store postgres":                                  "TestBrowserTwoWards",
	`go run ./examples/ward -store postgres -dsn "$DSN"`:                      "TestBrowserTwoWards",
	`go run ./examples/ward -store postgres -dsn "$DSN" -addr 127.0.0.1:8081`: "TestBrowserTwoWards",
	"go run ./examples/ward -store postgres -dsn … -proxy 10.0.0.2/32":        "TestBalancedNodes",
	"python3 examples/python/device.py":                                       "TestPythonExamples",
	"python3 examples/python/clinician.py":                                    "TestPythonExamples",
	"python3 examples/python/clinician.py --token nurse-token --patient p-17": "TestExamplesPythonQuickstart",
	curlStream:    "TestExamplesCurl",
	curlHandshake: "TestExamplesCurl",

	"carewire COMMAND -h":     "TestCommands",
	"carewire check":          "TestDocument",
	"carewire check -hold 2m": "TestDocument",
	"carewire stats":          "TestDocument",
	"carewire store":          "TestDocument",
	"carewire store verify":   "TestDocument",
	"carewire store compact":  "TestDocument",
	"carewire watch -group …": "TestDocument",

	"npm ci":                          "CI: npm ci --silent",
	"npm test":                        "TestJSClient",
	"npm run lint":                    "CI: npm run --silent lint",
	"npm run build":                   "TestJSClientPackage",
	"npm pack":                        "TestJSClientPackage",
	"npm run soak":                    "not: an hour",
	"node test/soakpage.js":           "not: an hour",
	"node --test test/others.test.js": "TestJSElements",
	"cd js/client && npm ci && npm test the client for browsers; npm run build after each change of it, npm run soak for an hour's memory": "TestJSClient",

	"make fhir-oracle": "not: minutes, for releases",
	"make large":       "not: minutes, for releases",
	"make soak-page":   "not: an hour, for releases",
	"make mutants":     "not: ten minutes, for releases",
	"make neighbours":  "not: 20 minutes, for releases",
	"make soak":        "not: an hour, for releases",
	"make soak KILLS=30 ALERTS=6000 DEADLINES=500 RESTARTS=10 NODES=1m": "not: minutes, for releases",
}

// The commands in examples/README.md that curl runs.
const (
	curlStream = `curl --no-buffer -H "Authorization: Bearer nurse-ada" -H "Content-Type: application/json" -H "Accept: text/event-stream" ` +
		`-d '{"type":"watch","req":"1","groups":["ward-5"]}' http://127.0.0.1:8080/carewire`
	curlHandshake = `curl --silent --no-buffer --include --http1.1 --max-time 3 --output - -H "Authorization: Bearer nurse-ada" ` +
		`-H "Connection: Upgrade" -H "Upgrade: websocket" -H "Sec-WebSocket-Version: 13" ` +
		`-H "Sec-WebSocket-Key: $(head -c 16 /dev/urandom | base64)" http://127.0.0.1:8080/carewire`
)

var (
	blocks        = regexp.MustCompile("(?ms)^```.*?^```$")
	continued     = regexp.MustCompile(`\\\n\s*`)
	codeInText    = regexp.MustCompile("(?m)`([^`\n]+)`|^    (\\S.*)$")
	remark        = regexp.MustCompile(`  +.*$| +#.*$`)
	startsProgram = regexp.MustCompile(`^(?:[A-Z]+=\S+ )?(?:go|npm|npx|node|python3?|pip|apt|curl|carewire|make|bash|cd|taskset|pg_dump|psql|ulimit|sudo|docker|openssl|nginx|haproxy)\s+\S`)
)

// commandsIn returns the commands that a document names outside of its blocks.
func commandsIn(t *testing.T, document string) (list []string) {
	b, err := os.ReadFile(filepath.Join("..", document))
	require.NoError(t, err)
	text := continued.ReplaceAllString(blocks.ReplaceAllString(string(b), ""), "")
	for _, m := range codeInText.FindAllStringSubmatch(text, -1) {
		command := strings.Join(strings.Fields(m[1]+remark.ReplaceAllString(m[2], "")), " ")
		if startsProgram.MatchString(command) {
			list = append(list, command)
		}
	}
	return list
}

// Each command that a document names outside of its blocks runs in a test, or the list
// says why not. What it names is there: folders and files, targets of make, scripts
// of npm, and flags of programs.
func TestCommandsInDocuments(t *testing.T) {
	t.Parallel()
	var tests strings.Builder
	for _, file := range found(t, "_test.go") {
		b, err := os.ReadFile(filepath.Join("..", file))
		require.NoError(t, err)
		tests.Write(b)
	}
	script, err := os.ReadFile("../.ci/run")
	require.NoError(t, err)
	named := make(map[string]bool)
	for _, document := range found(t, ".md") {
		if document == "CHANGELOG.md" {
			continue
		}
		for _, command := range commandsIn(t, document) {
			named[command] = true
			where, ok := commands[command]
			assert.True(t, ok, "%s: nobody says where this runs: %s", document, command)
			if words, ok := strings.CutPrefix(where, "CI: "); ok {
				assert.Contains(t, string(script), words, command)
			} else if !strings.HasPrefix(where, "not: ") {
				assert.Contains(t, tests.String(), "func "+where+"(", command)
			}
			for part := range strings.SplitSeq(command, "&&") {
				checkNames(t, document, strings.Fields(part))
			}
		}
	}
	for _, command := range slices.Sorted(maps.Keys(commands)) {
		assert.True(t, named[command], "no document has this command: %s", command)
	}
}

// checkNames checks that what a command names is there.
func checkNames(t *testing.T, document string, words []string) {
	if len(words) > 2 && words[0] == "taskset" {
		words = words[3:]
	}
	switch command := strings.Join(words, " "); {
	case len(words) > 2 && words[0] == "go" && slices.Contains([]string{"run", "test", "build", "vet"}, words[1]):
		var sources strings.Builder
		for _, w := range words[2:] {
			if strings.HasPrefix(w, "./") && !strings.HasSuffix(w, "...") {
				assert.DirExists(t, filepath.Join("..", w), "%s: %s", document, command)
				files, err := filepath.Glob(filepath.Join("..", w, "*.go"))
				require.NoError(t, err)
				for _, file := range files {
					b, err := os.ReadFile(file)
					require.NoError(t, err)
					sources.Write(b)
				}
			} else if name, ok := strings.CutPrefix(w, "-"); ok && words[1] == "run" {
				assert.Regexp(t, `flag\.\w+\((?:&?[\w.]+, )?"`+regexp.QuoteMeta(name)+`"`, sources.String(), "%s: %s", document, command)
			}
		}
	case len(words) > 1 && words[0] == "make":
		makefile, err := os.ReadFile("../Makefile")
		require.NoError(t, err)
		assert.Regexp(t, "(?m)^"+regexp.QuoteMeta(words[1])+":", string(makefile), "%s: %s", document, command)
	case len(words) > 2 && words[0] == "npm" && words[1] == "run":
		assert.True(t, npmScript(t, words[2]), "%s: %s", document, command)
	}
}

// npmScript reports whether a package here has the script.
func npmScript(t *testing.T, name string) bool {
	for _, file := range found(t, "package.json") {
		b, err := os.ReadFile(filepath.Join("..", file))
		require.NoError(t, err)
		if regexp.MustCompile(`"` + regexp.QuoteMeta(name) + `":`).Match(b) {
			return true
		}
	}
	return false
}

// The examples run by the commands of examples/README.md, at an address that is free.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	speech := needed{"Debian's pocketsphinx, pocketsphinx-en-us, espeak-ng and sox", func() error {
		return exec.Command("bash", "-c", "command -v pocketsphinx_batch && command -v espeak-ng && command -v sox").Run()
	}}
	sight := needed{"Debian's python3-opencv", func() error { return exec.Command("/usr/bin/python3", "-c", "import cv2").Run() }}
	for command, x := range map[string]struct {
		more  []string // arguments: no test uses a loudspeaker or a fixed port
		says  string
		needs []needed
	}{
		"go run ./examples/replay examples/replay/data/icu-numerics-s00001n.csv": {says: `^ +spo2-low +plain +\d+`},
		"go run ./examples/tls":                                 {more: []string{"-addr", "127.0.0.1:0"}, says: `^heart rate 72 /min`},
		"go run ./examples/tls -plaintext -addr 127.0.0.1:8080": {more: []string{"-addr", "127.0.0.1:0"}, says: `^heart rate 72 /min`},
		"go run ./examples/vision":                              {says: `^alert "Has left the bed \(zone: floor; .*" is present`, needs: []needed{sight}},
		"go run ./examples/voice":                               {more: []string{"-mute"}, says: `^ +< The nurses have been called`, needs: []needed{speech}},
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			need(t, x.needs...)
			words := strings.Fields(command)
			name, ok := strings.CutPrefix(words[2], "./examples/")
			require.True(t, ok)
			cmd := exec.Command(program(t, name), append(words[3:], x.more...)...)
			cmd.Dir = ".."
			process.Start(t, cmd).Out.Await(t, 0, x.says)
		})
	}
}

// curl shows the events of the ward, and a handshake with its first frames.
func TestExamplesCurl(t *testing.T) {
	need(t, needShell)
	w := openWard(t, "-quiet")
	at := strings.NewReplacer("http://127.0.0.1:8080", "http://"+w.addr, "--max-time 3", "--max-time 120")
	stream := process.Start(t, exec.Command("bash", "-c", "exec "+at.Replace(curlStream)))
	_, n := stream.Out.Await(t, 0, `^data: \{"type":"welcome"`)
	stream.Out.Await(t, n, `^data: \{"type":"ok","req":"1","watching":\["p-`)

	cmd := exec.Command("bash", "-c", "exec "+at.Replace(curlHandshake))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	said, part := "", make([]byte, 4096)
	for !strings.Contains(said, `{"type":"welcome"`) { // no line ends there
		n, err := out.Read(part)
		require.NoError(t, err, said)
		said += string(part[:n])
	}
	require.Contains(t, said, "HTTP/1.1 101 ")
}

// The clinician in Python watches the patient of the quickstart.
func TestExamplesPythonQuickstart(t *testing.T) {
	need(t, needPython)
	words := strings.Fields("python3 examples/python/clinician.py --token nurse-token --patient p-17")
	quickstart(t)
	r := startPython(t, append([]string{"../" + words[1]}, words[2:]...)...)
	_, n := r.Out.Await(t, 0, `^watching p-17 refused \[\]$`)
	r.Out.Await(t, n, `^\S+ p-17 8867-4 72 /min$`)
}

// go doc prints every type, as the guide for hosts says.
func TestGoDoc(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "doc", "-all", "github.com/carewire/carewire")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, line := range []string{"type Vital struct {", "type Options struct {", "func (h *Hub) Raise("} {
		require.Contains(t, string(out), line)
	}
}
