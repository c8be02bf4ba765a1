; Deep recursion, long loops, big lists: the stacks are the machine's, releases take constant C stack.

(define (sum-to n) (if (= n 0) 0 (+ n (sum-to (- n 1)))))
(writeln (sum-to 100000))
(define (build n) (if (= n 0) '() (cons n (build (- n 1)))))
(define big (build 200000))
(writeln (length big))
(writeln (apply + big))
(set! big (map (lambda (x) (* x 2)) big))
(writeln (list-ref big 199999))
(set! big #f)

(define (loop i) (if (< i 10000000) (loop (+ i 1)) i))
(writeln (loop 0))
(writeln (do ((i 0 (+ i 1)) (total 0 (+ total i))) ((= i 100000) total)))

; Nested a million deep, in the car: dropping it is no recursion.
(define (nested n) (let loop ((i 0) (x '())) (if (= i n) x (loop (+ i 1) (list x)))))
(define deep (nested 1000000))
(writeln (pair? deep))
(writeln (guard (e (#t (condition/report-string e))) (equal? deep (nested 1000000))))
(set! deep #f)
(define (closures n) (let loop ((i 0) (f (lambda () 0))) (if (= i n) f (loop (+ i 1) (lambda () f)))))
(define chain (closures 300000))
(writeln (procedure? (chain)))
(set! chain #f)

; Recursion without an end is an error like others.
(define (forever n) (+ 1 (forever n)))
(writeln (guard (e (#t (condition/report-string e))) (forever 1)))
(writeln (guard (e (#t (condition/report-string e))) (with-exception-handler forever (lambda () (forever 1)))))

; A vector of a million, a string of a million.
(define v (make-vector 1000000 1))
(vector-set! v 999999 'last)
(writeln (vector-ref v 999999))
(writeln (string-length (make-string 1000000 #\x)))
(define (ackermann m n)
  (cond ((= m 0) (+ n 1))
        ((= n 0) (ackermann (- m 1) 1))
        (else (ackermann (- m 1) (ackermann m (- n 1))))))
(writeln (ackermann 2 300))
(define (fib n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2)))))
(writeln (fib 24))

; A mergesort of 20000 numbers from a small generator.
(define seed 42)
(define (random limit)
  (set! seed (remainder (+ (* seed 1103515245) 12345) 2147483648))
  (remainder (quotient seed 16) limit))
(define numbers (map (lambda (i) (random 1000000)) (iota 20000)))
(define sorted (sort numbers <))
(define (ascending? list) (or (null? (cdr list)) (and (<= (car list) (cadr list)) (ascending? (cdr list)))))
(writeln (list (ascending? numbers) (ascending? sorted) (= (apply + numbers) (apply + sorted))))
