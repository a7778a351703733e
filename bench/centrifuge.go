package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"
)

type centrifugeHost struct {
	http.Handler
	node    *centrifuge.Node
	options []centrifuge.PublishOption
}

func newCentrifuge(settings) (contender, error) {
	return centrifugeNode(centrifuge.ConnectReply{}, centrifuge.SubscribeOptions{})
}

// newRecoveringCentrifuge keeps a history from which clients that come back are served.
func newRecoveringCentrifuge(settings) (contender, error) {
	return centrifugeNode(centrifuge.ConnectReply{}, centrifuge.SubscribeOptions{EnablePositioning: true, EnableRecovery: true},
		centrifuge.WithHistory(1000, time.Hour))
}

// newDelayedCentrifuge collects messages for 10 ms, any number in a frame: the
// documentation recommends a delay where many messages come to one client, and
// a timer where there are many clients.
func newDelayedCentrifuge(settings) (contender, error) {
	return centrifugeNode(centrifuge.ConnectReply{WriteDelay: 10 * time.Millisecond, MaxMessagesInFrame: -1, WriteWithTimer: true, ReplyWithoutQueue: true},
		centrifuge.SubscribeOptions{})
}

func centrifugeNode(reply centrifuge.ConnectReply, subscribe centrifuge.SubscribeOptions, publish ...centrifuge.PublishOption) (contender, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		r := reply
		r.Credentials = &centrifuge.Credentials{UserID: e.ClientID}
		return r, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) { done(centrifuge.PublishReply{}, nil) })
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{Options: subscribe}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return nil, err
	}
	return &centrifugeHost{centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{UseWriteBufferPool: true}), node, publish}, nil
}

// centrifugeAdds is how much longer its push is than the data.
const centrifugeAdds = len(`{"push":{"channel":"p-0","pub":{"data":}}}`)

func (c *centrifugeHost) publish(patient, first, n int, at time.Time) error {
	for i := range n {
		if _, err := c.node.Publish(patientID(patient), event(patient, first+i, at, centrifugeAdds), c.options...); err != nil {
			return err
		}
	}
	return nil
}

// raise publishes a text like that of carewire's alert.
func (c *centrifugeHost) raise(patient, number int) error {
	_, err := c.node.Publish(patientID(patient), fmt.Appendf(nil, `{"type":"alert","alert":{"alert_id":"%s","text":"Low oxygen saturation",`+
		`"priority":"info","condition":"present","responsibility":{"state":"undefined"},"raised":"%s"}}`,
		eventID(patient, number, time.Now()), time.Now().Format(time.RFC3339Nano)), c.options...)
	return err
}

var centrifugeDialect = dialect{
	hello: func(_, patients int) []string { return subscribe(0, patients) },
	ready: `"subscribe":{`, each: true,
	watch: subscribe,
	send: func(patient, number int, at time.Time) []byte {
		return fmt.Appendf(nil, `{"id":1000,"publish":{"channel":"%s","data":%s}}`, patientID(patient), event(patient, number, at, centrifugeAdds))
	},
	accepted: func(answer []byte) bool { return string(answer) == `{"id":1000,"publish":{}}` },
}

func subscribe(first, count int) []string {
	hello := []string{`{"id":1,"connect":{}}`}
	for i := range count {
		hello = append(hello, fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"%s"}}`, i+2, patientID(first+i)))
	}
	return hello
}
