# The runs that take too long for CI. Everything else is a go command: see AGENTS.md.

KILLS = 1000
ALERTS = 200000
DEADLINES = 10000
RESTARTS = 50
NODES = 10m
NEIGHBOURS = 10m

# The long form of the fault suite; docs/reliability.md explains its output.
soak: neighbours
	go test ./faults -run 'TestSoak|TestNodesAreBrokenAtRandom|TestBadLinesOfClients|TestJudge' -v -count=1 -timeout 150m -faults.kills $(KILLS) -faults.alerts $(ALERTS) -faults.deadlines $(DEADLINES) -faults.restarts $(RESTARTS) -faults.nodes $(NODES)

# The long form of TestBadNeighbours alone, on each store; on a quiet machine.
neighbours:
	go test ./faults -run TestBadNeighbours -v -count=1 -timeout 60m -faults.neighbours $(NEIGHBOURS)

# An hour of a page in Chromium, with waves and IndexedDB, by the real clock: whether its memory stays flat.
soak-page:
	cd js/client && node test/soakpage.js 60

# Puts each of the faults of faults/mutants_test.go in, and requires that the suite notices.
mutants:
	go test ./faults -run TestMutants -v -count=1 -timeout 90m -faults.mutants

# Holds the FHIR that is written against google/fhir, which takes minutes to build.
fhir-oracle:
	cd .ci/fhir-oracle && GOWORK=off go test -v -count=1 -timeout 30m .

# Fills disks of 600 MB, of which there must be as much memory, under stores of one to 5,000 patients.
full:
	BOLTSTORE_LONG=1 go test ./boltstore -run TestFullDiskMatrix -v -count=1 -timeout 60m

# Figures of large stores: opening a file of 2.7 GB, publishing while 10,000 people are revoked, three cycles of filling and pruning PostgreSQL.
large:
	BOLTSTORE_LONG=1 go test ./boltstore -run 'TestOpenALargeFile|TestPublishDuringRevocations' -v -count=1 -timeout 60m
	PGSTORE_LONG=1 go test ./pgstore -run TestRefill -v -count=1 -timeout 60m

# The whole contract of a Store on one, three and seven members, files and PostgreSQL servers.
spread:
	BOLTSTORE_LONG=1 PGSTORE_LONG=1 go test ./spread ./boltstore ./pgstore -run TestSpread -v -count=1 -timeout 60m

.PHONY: soak soak-page neighbours mutants fhir-oracle full large spread
