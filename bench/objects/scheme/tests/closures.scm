; Closures, counters, objects made of closures, streams, and the cycles they make.

(define (make-counter)
  (let ((n 0))
    (lambda () (set! n (+ n 1)) n)))
(define a (make-counter))
(define b (make-counter))
(a) (a)
(writeln (list (a) (b) (a)))

; An object whose methods refer to each other: a closure in the environment that it refers to.
(define (make-account balance)
  (define (deposit amount) (set! balance (+ balance amount)) (self 'balance))
  (define (withdraw amount)
    (if (> amount balance)
        (error "not enough money:" amount)
        (begin (set! balance (- balance amount)) balance)))
  (define (self message . arguments)
    (case message
      ((balance) balance)
      ((deposit) (apply deposit arguments))
      ((withdraw) (apply withdraw arguments))
      (else (error "unknown message:" message))))
  self)

(define account (make-account 100))
(writeln (account 'deposit 50))
(writeln (account 'withdraw 30))
(writeln (account 'balance))
(writeln (guard (e (#t (condition/report-string e))) (account 'withdraw 500)))
(writeln (guard (e (#t (condition/report-string e))) (account 'close)))

; Mutual recursion inside a body, and letrec.
(define (parity n)
  (define (is-even? n) (if (= n 0) 'even (is-odd? (- n 1))))
  (define (is-odd? n) (if (= n 0) 'odd (is-even? (- n 1))))
  (is-even? n))
(writeln (map parity '(0 1 2 99 100)))
(writeln (letrec ((down (lambda (n) (if (= n 0) 'done (up (- n 1)))))
                  (up (lambda (n) (down n))))
           (down 10)))
(writeln (guard (e (#t (condition/report-string e)))
           (letrec ((x (lambda () y)) (z (x)) (y 1)) z)))

; Composition, currying, Church numerals, the Y combinator.
(define (compose . functions)
  (if (null? functions)
      (lambda (x) x)
      (lambda (x) ((car functions) ((apply compose (cdr functions)) x)))))
(define (curry f . first) (lambda rest (apply f (append first rest))))
(writeln ((compose (curry + 1) (curry * 2) square) 3))

(define zero (lambda (f) (lambda (x) x)))
(define (successor n) (lambda (f) (lambda (x) (f ((n f) x)))))
(define (add m n) (lambda (f) (lambda (x) ((m f) ((n f) x)))))
(define (multiply m n) (lambda (f) (m (n f))))
(define (church->integer n) ((n (lambda (x) (+ x 1))) 0))
(define two (successor (successor zero)))
(define three (successor two))
(writeln (map church->integer (list zero two three (add two three) (multiply two three))))

(define (Y f) ((lambda (x) (x x)) (lambda (x) (f (lambda (y) ((x x) y))))))
(writeln ((Y (lambda (self) (lambda (n) (if (= n 0) 1 (* n (self (- n 1))))))) 10))

; Streams: delay and force.
(define (integers n) (cons n (delay (integers (+ n 1)))))
(define (stream-tail stream) (force (cdr stream)))
(define (stream-head stream n)
  (if (= n 0) '() (cons (car stream) (stream-head (stream-tail stream) (- n 1)))))
(define (stream-filter keep? stream)
  (if (keep? (car stream))
      (cons (car stream) (delay (stream-filter keep? (stream-tail stream))))
      (stream-filter keep? (stream-tail stream))))
(define (sieve stream)
  (let ((prime (car stream)))
    (cons prime
          (delay (sieve (stream-filter (lambda (n) (not (= 0 (remainder n prime))))
                                       (stream-tail stream)))))))
(writeln (stream-head (sieve (integers 2)) 12))

; Shadowing: local variables with the names of keywords and procedures.
(define (shadow list if) (+ list if))
(writeln (shadow 1 2))
(writeln (let ((cond (lambda (x) (* x 10)))) (cond 4)))
(writeln (let ((raise 1) (append 2) (cons 3)) `(,raise ,@(list append cons))))
(define (map f . lists) 'my-map)
(writeln (map car '((1))))
(writeln (vector-map square #(1 2 3)))

; Variables: set! outside, several levels, a let in a loop captures a new variable each time.
(define thunks
  (do ((i 0 (+ i 1)) (list '() (cons (let ((j i)) (lambda () (set! j (+ j 10)) j)) list)))
      ((= i 4) (reverse list))))
(for-each (lambda (thunk) (thunk)) thunks)
(writeln (vector-map (lambda (thunk) (thunk)) (list->vector thunks)))
(define (nest a) (lambda (b) (let ((c (+ a b))) (lambda (d) (set! a (+ a 1)) (list a b c d)))))
(define inner ((nest 1) 2))
(inner 0)
(writeln (inner 4))
