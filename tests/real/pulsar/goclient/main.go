// One use of Pulsar's Go client, as tests ask for it: a JSON object on standard input, another on standard output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/sirupsen/logrus"
)

// Task is what is asked for. The token is read from TokenFile whenever the library wants one.
type Task struct {
	URL, CA, TokenFile, Action, Topic, Pattern, Subscription string
	Count                                                    int
	Seconds                                                  float64
}

const patience = 20 * time.Second

func main() {
	var task Task
	if err := json.NewDecoder(os.Stdin).Decode(&task); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	answer := map[string]any{}
	ok, err := run(task)
	if err != nil {
		answer["error"] = err.Error()
	} else {
		answer["ok"] = ok
	}
	json.NewEncoder(os.Stdout).Encode(answer)
}

func run(task Task) (any, error) {
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	operation := 10 * time.Second
	if task.Action == "produce" { // also by those who are let in nowhere, and try until then
		operation = 3 * time.Second
	}
	client, err := pulsar.NewClient(pulsar.ClientOptions{
		URL:                     task.URL,
		TLSTrustCertsFilePath:   task.CA,
		TLSValidateHostname:     true,
		OperationTimeout:        operation,
		EnableTransaction:       task.Action == "transaction",
		KeepAliveInterval:       5 * time.Second,
		Logger:                  log.NewLoggerWithLogrus(silent),
		MaxConnectionsPerBroker: 1,
		Authentication: pulsar.NewAuthenticationTokenFromSupplier(func() (string, error) {
			token, err := os.ReadFile(task.TokenFile)
			return strings.TrimSpace(string(token)), err
		}),
	})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	switch task.Action {
	case "roundtrip":
		return roundtrip(client, task)
	case "regex":
		return regex(client, task)
	case "transaction":
		return transaction(client, task)
	case "steady":
		return steady(client, task)
	case "produce":
		return nil, produce(client, task.Topic, task.Count)
	}
	return nil, fmt.Errorf("no action %q", task.Action)
}

func produce(client pulsar.Client, topic string, count int) error {
	producer, err := client.CreateProducer(pulsar.ProducerOptions{
		Topic: topic, CompressionType: pulsar.ZSTD, BatchingMaxPublishDelay: 5 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	defer producer.Close()
	failed := make(chan error, count)
	for number := range count {
		message := &pulsar.ProducerMessage{Payload: []byte(fmt.Sprint(number)), Key: fmt.Sprint(number % 5)}
		producer.SendAsync(context.Background(), message, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
			failed <- err
		})
	}
	for range count {
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

func consume(consumer pulsar.Consumer, count int) ([]string, error) {
	limited, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found := []string{}
	for len(found) < count {
		message, err := consumer.Receive(limited)
		if err != nil {
			return found, err
		}
		if err := consumer.Ack(message); err != nil {
			return found, err
		}
		found = append(found, string(message.Payload()))
	}
	return found, nil
}

// roundtrip: batches, compressed, received on a key-shared subscription.
func roundtrip(client pulsar.Client, task Task) (any, error) {
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{
		Topic: task.Topic, SubscriptionName: task.Subscription, Type: pulsar.KeyShared,
	})
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	if err := produce(client, task.Topic, task.Count); err != nil {
		return nil, err
	}
	return consume(consumer, task.Count)
}

// regex: the topics that a pattern leads to, each of which holds one message with its own name.
func regex(client pulsar.Client, task Task) (any, error) {
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{
		TopicsPattern: task.Pattern, SubscriptionName: task.Subscription, Type: pulsar.Shared,
		SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest,
	})
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	return consume(consumer, task.Count)
}

// transaction: its messages are seen once it is committed, and not before. (This library leaves the transaction out of
// a message's metadata, so that brokers show what was aborted, too, also without a gateway; Java's test has the aborts.)
func transaction(client pulsar.Client, task Task) (any, error) {
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{
		Topic: task.Topic, SubscriptionName: task.Subscription, Type: pulsar.Shared,
	})
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: task.Topic, SendTimeout: -1})
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	limited, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	txn, err := client.NewTransaction(time.Minute)
	if err != nil {
		return nil, err
	}
	for number := range task.Count {
		message := &pulsar.ProducerMessage{Payload: []byte(fmt.Sprint(number)), Transaction: txn}
		if _, err := producer.Send(limited, message); err != nil {
			return nil, err
		}
	}
	briefly, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if early, err := consumer.Receive(briefly); err == nil {
		return nil, fmt.Errorf("%s was seen before the commit", early.Payload())
	}
	if err := txn.Commit(limited); err != nil {
		return nil, err
	}
	return consume(consumer, task.Count)
}

// steady: a message every 50 ms for so long; how many were acknowledged, and that all were received.
func steady(client pulsar.Client, task Task) (any, error) {
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{Topic: task.Topic, SubscriptionName: task.Subscription})
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: task.Topic, DisableBatching: true})
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	sent := 0
	for until := time.Now().Add(time.Duration(task.Seconds * float64(time.Second))); time.Now().Before(until); {
		if _, err := producer.Send(context.Background(), &pulsar.ProducerMessage{Payload: []byte(fmt.Sprint(sent))}); err != nil {
			return nil, err
		}
		sent++
		time.Sleep(50 * time.Millisecond)
	}
	return consume(consumer, sent)
}
