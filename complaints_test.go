package carewire

import "testing"

// TestComplaint shows those complaints of users of other systems that are the
// protocol's, under the number that docs/rules.md gives them. The others are
// shown in the package rules.
func TestComplaint(t *testing.T) {
	for _, c := range []struct {
		name  string
		shows func(*testing.T)
	}{
		{"9 an old value looks new", TestClientStalePatient},
		{"18 a client comes back without the events that it has missed", TestClientResumes},
		{"19 a connection is dead when its token ends", TestTokensExpireAndAreRenewed},
		{"19 a client does not notice that its token ends", TestClientRenews},
		{"20 a missed heartbeat does not make it connect again", TestClientStale},
		{"20 heartbeats come before welcome", TestWelcomeComesFirst},
		{"21 orphan watches and dead tokens are looked at again and again", TestUnwatchedStaysUnwatched},
		{"21 a ticket is good more than once", TestTicketRefusals},
		{"22 nothing ends a watch", TestUnwatchedStaysUnwatched},
		{"22 sockets know no policy of access", TestForbiddenLooksLikeUnknown},
		{"23 no payload comes over the socket", TestVitalAlertAndAnswerEndToEnd},
		{"23 no ticket stands for the token", TestTicket},
		{"24 a watch is taken and nothing comes of it", TestClientNoSync},
		{"25 tenants hear of each other", TestTenantsShareNothing},
	} {
		t.Run(c.name, c.shows)
	}
}
