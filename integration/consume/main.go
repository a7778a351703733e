// Consume checks that each module builds for those who fetch it: from a module
// zip, by way of a proxy of files, without the workspace and without go.mod's
// replacements. It takes the root of the repository.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// version is the one that the modules require of each other, and are tagged with.
const version = "v0.1.0"

// published are the folders of the modules that hosts fetch.
var published = []string{".", "boltstore", "cmd", "metrics/otel", "metrics/prom", "natsrelay", "pagers/ical", "pgstore", "smartauth"}

func main() {
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "consume:", err)
		os.Exit(1)
	}
}

func check(root string) error {
	tmp, err := os.MkdirTemp("", "consume")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	proxy, paths := filepath.Join(tmp, "proxy"), make(map[string]string)
	for _, dir := range published {
		if paths[dir], err = publish(filepath.Join(root, dir), proxy); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	for _, dir := range published {
		if err := consume(filepath.Join(root, dir), paths[dir], filepath.Join(tmp, "consumer", dir), proxy, filepath.Join(tmp, "cache")); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		fmt.Println(paths[dir], version, "builds as it is fetched")
	}
	return install(root, tmp, proxy)
}

// command is the program that docs/command.md has people install.
const command = "github.com/carewire/carewire/cmd/carewire"

// install installs the command as people without a module of their own do.
func install(root, tmp, proxy string) error {
	env, err := fetching(root, proxy, filepath.Join(tmp, "cache"))
	if err != nil {
		return err
	}
	bin := filepath.Join(tmp, "bin")
	if _, err := run(tmp, append(env, "GOBIN="+bin), "go", "install", command+"@"+version); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(bin, "carewire")); err != nil {
		return err
	}
	fmt.Println(command, version, "is installed")
	return nil
}

// fetching is the environment in which modules come from the proxy of files, and
// the others from where they come here.
func fetching(dir, proxy, cache string) ([]string, error) {
	modules, err := run(dir, nil, "go", "env", "GOMODCACHE", "GOPROXY")
	if err != nil {
		return nil, err
	}
	have, upstream, _ := strings.Cut(strings.TrimSpace(modules), "\n")
	return []string{"GOWORK=off", "GOFLAGS=-mod=mod -modcacherw -trimpath", "GOSUMDB=off", "GOMODCACHE=" + cache,
		"GOPROXY=file://" + proxy + ",file://" + filepath.Join(have, "cache", "download") + "," + upstream}, nil
}

// publish puts the module in dir where a proxy of files has it.
func publish(dir, proxy string) (path string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", err
	}
	mod, err := modfile.ParseLax("go.mod", text, nil)
	if err != nil {
		return "", err
	}
	path = mod.Module.Mod.Path
	for _, r := range mod.Require {
		if strings.HasPrefix(r.Mod.Path, "github.com/carewire/carewire") && r.Mod.Version != version {
			return "", fmt.Errorf("requires %s, which is not tagged %s", r.Mod, version)
		}
	}
	at := filepath.Join(proxy, path, "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	files, err := tracked(dir)
	if err != nil {
		return "", err
	}
	if err := zip.Create(f, module.Version{Path: path, Version: version}, files); err != nil {
		return "", err
	}
	for name, text := range map[string][]byte{version + ".mod": text, version + ".info": []byte(`{"Version":"` + version + `"}`), "list": []byte(version + "\n")} {
		if err := os.WriteFile(filepath.Join(at, name), text, 0o644); err != nil {
			return "", err
		}
	}
	return path, nil
}

// A tree is a file that git tracks.
type tree struct{ dir, path string }

func (t tree) Path() string                 { return t.path }
func (t tree) Lstat() (os.FileInfo, error)  { return os.Lstat(filepath.Join(t.dir, t.path)) }
func (t tree) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(t.dir, t.path)) }

// tracked lists the files of the module in dir, without those of modules in it.
func tracked(dir string) ([]zip.File, error) {
	out, err := run(dir, nil, "git", "ls-files", "-z")
	if err != nil {
		return nil, err
	}
	list := strings.Split(strings.TrimRight(out, "\x00"), "\x00")
	var nested []string
	for _, p := range list {
		if d, ok := strings.CutSuffix(p, "/go.mod"); ok {
			nested = append(nested, d+"/")
		}
	}
	var files []zip.File
	for _, p := range list {
		if !slices.ContainsFunc(nested, func(d string) bool { return strings.HasPrefix(p, d) }) {
			files = append(files, tree{dir, p})
		}
	}
	return files, nil
}

// consume builds all packages of a module in a module of its own.
func consume(dir, path, at, proxy, cache string) error {
	list, err := run(dir, nil, "go", "list", "./...") // in the workspace: cmd replaces nothing
	if err != nil {
		return err
	}
	var packages []string
	for p := range strings.FieldsSeq(list) {
		if !strings.Contains(p, "/internal/") && !strings.HasSuffix(p, "/internal") {
			packages = append(packages, p)
		}
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	mod := fmt.Sprintf("module example.test/consumer\n\ngo 1.26.0\n\nrequire %s %s\n", path, version)
	if err := os.WriteFile(filepath.Join(at, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	env, err := fetching(dir, proxy, cache)
	if err != nil {
		return err
	}
	_, err = run(at, env, "go", append([]string{"build"}, packages...)...)
	return err
}

func run(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, args[0], err, log.String())
	}
	return out.String(), nil
}
