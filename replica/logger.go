package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"

	"github.com/hashicorp/go-hclog"
)

// engineLogger passes the engine's messages to a slog.Logger.
type engineLogger struct{ l *slog.Logger }

func (e engineLogger) at(level slog.Level, msg string, args []any) {
	e.l.Log(context.Background(), level, msg, args...)
}

func (e engineLogger) Log(level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Error:
		e.Error(msg, args...)
	case hclog.Warn:
		e.Warn(msg, args...)
	case hclog.Info:
		e.Info(msg, args...)
	default:
		e.Debug(msg, args...)
	}
}

func (e engineLogger) Trace(msg string, args ...any) {}
func (e engineLogger) Debug(msg string, args ...any) { e.at(slog.LevelDebug, msg, args) }
func (e engineLogger) Info(msg string, args ...any)  { e.at(slog.LevelInfo, msg, args) }
func (e engineLogger) Warn(msg string, args ...any)  { e.at(slog.LevelWarn, msg, args) }
func (e engineLogger) Error(msg string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok && errors.Is(err, net.ErrClosed) {
			e.Debug(msg, args...) // this node closed the connection itself
			return
		}
	}
	e.at(slog.LevelError, msg, args)
}

func (e engineLogger) enabled(l slog.Level) bool { return e.l.Enabled(context.Background(), l) }
func (e engineLogger) IsTrace() bool             { return false }
func (e engineLogger) IsDebug() bool             { return e.enabled(slog.LevelDebug) }
func (e engineLogger) IsInfo() bool              { return e.enabled(slog.LevelInfo) }
func (e engineLogger) IsWarn() bool              { return e.enabled(slog.LevelWarn) }
func (e engineLogger) IsError() bool             { return e.enabled(slog.LevelError) }

func (e engineLogger) ImpliedArgs() []any             { return nil }
func (e engineLogger) With(args ...any) hclog.Logger  { return engineLogger{e.l.With(args...)} }
func (e engineLogger) Name() string                   { return "" }
func (e engineLogger) Named(string) hclog.Logger      { return e }
func (e engineLogger) ResetNamed(string) hclog.Logger { return e }
func (e engineLogger) SetLevel(hclog.Level)           {}
func (e engineLogger) GetLevel() hclog.Level          { return hclog.NoLevel }
func (e engineLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(e.l.Handler(), slog.LevelInfo)
}

func (e engineLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return lineWriter{e}
}

type lineWriter struct{ e engineLogger }

func (w lineWriter) Write(p []byte) (int, error) {
	w.e.Info(fmt.Sprintf("%.1000s", p))
	return len(p), nil
}
