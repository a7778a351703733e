package carewire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unframe takes a server's frame apart, as a client would.
func unframe(t *testing.T, b []byte) (first byte, text []byte) {
	t.Helper()
	require.GreaterOrEqual(t, len(b), 2)
	require.Zero(t, b[1]&0x80, "frames of servers carry no mask")
	n, header := int(b[1]), 2
	switch n {
	case 126:
		n, header = int(binary.BigEndian.Uint16(b[2:])), 4
		require.GreaterOrEqual(t, n, 126, "the shortest form")
	case 127:
		n, header = int(binary.BigEndian.Uint64(b[2:])), 10
		require.Greater(t, n, 0xffff, "the shortest form")
	}
	require.Len(t, b, header+n)
	return b[0], b[header:]
}

func TestTextFrame(t *testing.T) {
	t.Parallel()
	for n, header := range map[int]int{0: 2, 1: 2, 125: 2, 126: 4, 127: 4, 65535: 4, 65536: 10, 70000: 10} {
		e := newFrame(0)
		e.b = append(e.b, strings.Repeat("x", n)...)
		frame := textFrame(e.b)
		require.Len(t, frame, header+n)
		first, text := unframe(t, frame)
		require.Equal(t, byte(0x81), first, "one whole text frame")
		require.Equal(t, strings.Repeat("x", n), string(text))
	}
}

// The close codes, their meanings, and which of them a client answers by
// connecting again.
func TestCloseCodes(t *testing.T) {
	t.Parallel()
	for code, comeBack := range map[CloseCode]bool{
		1001: true, 1002: false, 1003: false, 1007: false, 1008: false, 1009: false, 1011: true, 1012: true, 1013: true, 3000: true, 3003: false, 3008: true,
	} {
		require.Equal(t, comeBack, code.ComeBack(), code)
		first, text := unframe(t, closeFrame(code))
		require.Equal(t, byte(0x88), first)
		require.Equal(t, uint16(code), binary.BigEndian.Uint16(text))
		require.NotEmpty(t, string(text[2:]), code)
		require.LessOrEqual(t, len(text), 125, "control frames are small")
	}
	require.True(t, CloseAbnormal.ComeBack(), "no close frame at all")
	for _, code := range []CloseCode{0, 1000, 1005, 1010, 1015, 4000} {
		require.False(t, code.ComeBack(), code)
	}
}

// Every error has a code, says whether to try again, and matches its sentinel
// on the other side.
func TestErrorFrames(t *testing.T) {
	t.Parallel()
	shown := &Alert{Patient: "p-17", Key: "k", ID: "a-1", Rev: 3}
	for _, row := range []struct {
		err   error
		code  ErrorCode
		retry Retry
		after time.Duration
	}{
		{ErrForbidden, CodeForbidden, RetryNever, 0},
		{ErrUndecided, CodeUndecided, RetryLater, time.Second},
		{ErrUnauthenticated, CodeUnauthorized, RetryReauth, 0},
		{ErrEnded, CodeEnded, RetryNever, 0},
		{ErrRefused, CodeRefused, RetryNever, 0},
		{ErrConflict, CodeConflict, RetryNever, 0},
		{ErrIDReused, CodeIDReused, RetryNever, 0},
		{ErrGap, CodeGap, RetryNever, 0},
		{ErrBusy, CodeBusy, RetryLater, time.Second},
		{ErrFull, CodeFull, RetryLater, time.Second},
		{ErrUnavailable, CodeUnavailable, RetryLater, time.Second},
		{ErrClosed, CodeUnavailable, RetryLater, time.Second},
		{ErrUnknownOutcome, CodeUnknown, RetryLater, 0},
		{errUnknownType, CodeUnknownType, RetryNever, 0},
		{invalid("alert.text", "must be x"), CodeInvalid, RetryNever, 0},
		{invalid("", errSyntax), CodeMalformed, RetryNever, 0},
		{errors.New("pq: canary"), CodeInternal, RetryLater, 0},
		{&RequestError{Code: CodeLimit, Retry: RetryNever}, CodeLimit, RetryNever, 0},
	} {
		for _, err := range []error{row.err, fmt.Errorf("while canary: %w", row.err)} {
			if row.err == errUnknownType && err != row.err {
				continue // never wrapped
			}
			first, text := unframe(t, errorFrame("req-9", err))
			require.Equal(t, byte(0x81), first)
			require.NotContains(t, string(text), "canary", "an error's own words stay here")
			_, got, decodeErr := decodeEvent(text)
			require.NoError(t, decodeErr)
			require.Equal(t, "req-9", got.Req)
			require.Equal(t, row.code, got.Err.Code, err)
			require.Equal(t, row.retry, got.Err.Retry, err)
			require.Equal(t, row.after, got.Err.RetryAfter, err)
			if code, ok := codeOf[row.err]; ok {
				require.Equal(t, row.code, code)
				if row.err != ErrClosed { // ErrClosed and ErrUnavailable share a code
					require.ErrorIs(t, got.Err, row.err)
				}
			}
		}
	}
	for sentinel := range codeOf {
		_, reply, err := decodeEvent(errorText(&alertError{sentinel, shown}))
		require.NoError(t, err)
		require.Equal(t, shown, reply.Err.Alert, "a refusal shows the alert as it is")
		require.Equal(t, codeOf[sentinel], reply.Err.Code)
	}
	_, reply, err := decodeEvent(errorText(withinMember("alert", invalid("to[3]", "must be known"))))
	require.NoError(t, err)
	require.Equal(t, "alert.to[3]", reply.Err.Field)
	require.Equal(t, "must be known", reply.Err.Reason)
	require.Contains(t, string(errorText(errors.New("x"))), `{"type":"error","code":"internal","retry":"later"}`, "without a req there is none to echo")
}

// errorText is the text of an error frame that answers no request in particular.
func errorText(err error) []byte {
	e := encoder{b: []byte(`{"type":"error"`)}
	e.failure(err)
	return append(e.b, '}')
}
