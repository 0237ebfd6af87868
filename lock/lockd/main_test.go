package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
)

func TestArguments(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]string{
		"":                                  "-dir is required",
		"-dir DIR":                          "needs Options.Bootstrap or Options.Join",
		"-dir DIR x":                        `unexpected argument "x"`,
		"-dir DIR -store paper":             `-store "paper"`,
		"-dir DIR -bootstrap a":             `"a" is not id=host:port`,
		"-dir DIR -bootstrap a=127.0.0.1:1": "needs an ID",
		"-dir DIR -cert nowhere":            "open nowhere",
		"-dir DIR -join 127.0.0.1:1":        "-join needs -listen",
		"-nonsense":                         "not defined",
		"-dir DIR -id a -bootstrap a=0.0.0.0:0 -advertise example.org:1 -listen 0.0.0.0:0": "not loopback",
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := run(ctx, strings.Fields(strings.ReplaceAll(args, "DIR", dir)))
		cancel()
		require.ErrorContains(t, err, want, "lockd %s", args)
	}
	require.NoError(t, run(context.Background(), []string{"-help"}))
}

func freeAddress(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// writePEM writes a file of one block.
func writePEM(t *testing.T, name, kind string, der []byte) {
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// A server with TLS, which a client reaches that trusts its authority; without
// that it does not. It ends when it is told to.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	require.NoError(t, err)
	pk, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	writePEM(t, filepath.Join(dir, "cert"), "CERTIFICATE", der)
	writePEM(t, filepath.Join(dir, "key"), "EC PRIVATE KEY", pk)

	addr := freeAddress(t)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{
			"-dir", filepath.Join(dir, "data"), "-id", "a", "-bootstrap", "a=" + addr,
			"-cert", filepath.Join(dir, "cert"), "-key", filepath.Join(dir, "key"), "-ca", filepath.Join(dir, "cert"),
		})
	}()
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool.AddCert(parsed)
	dctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := lock.Dial(dctx, []string{addr}, &lock.Options{TLS: &tls.Config{RootCAs: pool}})
	require.NoError(t, err)
	l, err := c.Lock(dctx, "k")
	require.NoError(t, err)
	require.NoError(t, l.Unlock(dctx))
	require.NoError(t, c.Close())

	short, cancel2 := context.WithTimeout(ctx, time.Second)
	defer cancel2()
	_, err = lock.Dial(short, []string{addr}, nil)
	require.Error(t, err, "plain TCP to a TLS server")
	_, err = lock.Dial(short, []string{addr}, &lock.Options{TLS: &tls.Config{}})
	require.Error(t, err, "an authority that the client does not know")
	stop()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
}
